/** Makes images of version 1, and headers that are kept apart. */
import {
  alignUp,
  BlockError,
  bool,
  type CreateContext,
  type Creation,
  filePreallocation,
  forgetContent,
  integer,
  type MeasureContext,
  type MeasureReport,
  type OptionValues,
  type Preallocation,
  SECTOR,
  size,
  text,
} from '@vmblock/block-core/driver'
import { diskCrypto, type LuksPlan } from '@vmblock/crypto'
import { headerStore } from './header-store.ts'
import { withSecret } from './secret.ts'

/** Done by the file: the data of an image is all of it. */
const preallocation = { ...filePreallocation, default: 'off' as Preallocation, isForFile: true }

/** With the texts of QEMU. */
// biome-ignore format: a table
const options = {
  size:              size('Virtual disk size'),
  'key-secret':      text('ID of the secret that provides the keyslot passphrase'),
  'cipher-alg':      text('Name of encryption cipher algorithm'),
  'cipher-mode':     text('Name of encryption cipher mode'),
  'ivgen-alg':       text('Name of IV generator algorithm'),
  'ivgen-hash-alg':  text('Name of IV generator hash algorithm'),
  'hash-alg':        text('Name of encryption hash algorithm'),
  'iter-time':       integer('Time to spend in PBKDF in milliseconds'),
  'detached-header': { ...bool('Create a detached LUKS header'), isUnlisted: true },
  preallocation,
}

type CreateOptions = OptionValues<typeof options>

/** How the volume is made. @throws BlockError EINVAL, in QEMU's words; ENOTSUP for a cipher that no library here has */
function planOf(given: CreateOptions): LuksPlan {
  const plan = diskCrypto.planLuks({
    cipherAlg: given['cipher-alg'],
    cipherMode: given['cipher-mode'],
    ivgenAlg: given['ivgen-alg'],
    ivgenHashAlg: given['ivgen-hash-alg'],
    hashAlg: given['hash-alg'],
    iterTime: given['iter-time'],
    detachedHeader: given['detached-header'],
  })
  if (given['key-secret'] === undefined)
    throw new BlockError('EINVAL', "Parameter 'key-secret' is required for cipher")
  return plan
}

/** Bytes of the data in the file: whole sectors, and none beside a header that is kept apart. */
const dataBytes = ({ isDetached }: LuksPlan, bytes: number): number =>
  isDetached ? 0 : alignUp(bytes, SECTOR)

/** @throws BlockError as {@link create} does for the options */
async function check(given: CreateOptions): Promise<void> {
  const { payloadOffset, ...plan } = planOf(given)
  if (payloadOffset + (given.size ?? 0) > Number.MAX_SAFE_INTEGER - SECTOR)
    throw new BlockError('EFBIG', 'The requested file size is too large')
  if (given.size === undefined && !plan.isDetached)
    throw new BlockError('EINVAL', 'Image creation needs a size parameter')
}

/**
 * Formats `file`. The header is written last, when the key material that it tells of is durable.
 *
 * @throws BlockError EINVAL, in QEMU's words; ENOTSUP for a cipher that no library here has, and for ways to allocate that the
 *   file does not have; EFBIG; the error of the file
 */
async function create({ file, options: given, secret }: CreateContext<CreateOptions>): Promise<void> {
  await check(given)
  const plan = planOf(given)
  const secretOf =
    secret ?? ((id: string) => Promise.reject(new BlockError('EINVAL', `No secret with id '${id}'`)))
  // `metadata` is as good as nothing: there are no tables.
  const mode = given.preallocation === 'metadata' ? 'off' : given.preallocation
  await withSecret(secretOf, given['key-secret']!, async (passphrase) => {
    // What an old header had in key slots must not look like key material.
    if (file.growable && file.size > 0) await file.truncate(0)
    const bytes = plan.payloadOffset + dataBytes(plan, given.size ?? 0)
    await file.truncate(bytes, { preallocation: mode, exact: file.growable })
    await forgetContent(file)
    await diskCrypto.formatLuks(headerStore(file, plan.isDetached), plan, passphrase)
  })
}

/** All of the disk is encrypted, also what is zero. Needs the name of a key, as in QEMU. */
async function measure({ source, options: given }: MeasureContext<CreateOptions>): Promise<MeasureReport> {
  const plan = planOf(given)
  const bytes = plan.payloadOffset + dataBytes(plan, source ? source.size : (given.size ?? 0))
  return { requiredBytes: bytes, fullyAllocatedBytes: bytes }
}

/** The making of images. */
export const luksCreation: Creation<typeof options> = { options, check, measure, create }
