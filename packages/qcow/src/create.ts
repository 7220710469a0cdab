/** Makes images: byte for byte as QEMU does. */
import {
  alignUp,
  BlockError,
  bool,
  type CreateContext,
  type Creation,
  forgetContent,
  type OptionValues,
  SECTOR,
  size,
  text,
} from '@vmblock/block-core/driver'
import {
  CryptMethod,
  geometryOf,
  HEADER,
  HEADER_BYTES,
  MAGIC,
  MAX_BACKING_NAME,
  VERSION,
} from './format/header.ts'
import { withAesKey } from './secret.ts'

/** Clusters and L2 tables, as powers of two: small clusters over a backing file, of which less has to be copied. */
const ALONE = { clusterBits: 12, l2Bits: 9 }
const OVER = { clusterBits: 9, l2Bits: 12 }

/** With the texts of QEMU. */
// biome-ignore format: a table
const options = {
  size:                 size('Virtual disk size'),
  backing_file:         text('File name of a base image'),
  backing_fmt:          text('Format of the backing image'),
  encryption:           bool("Encrypt the image with format 'aes'. (Deprecated in favor of encrypt.format=aes)"),
  'encrypt.format':     text("Encrypt the image, format choices: 'aes'"),
  'encrypt.key-secret': text('ID of secret providing qcow AES key or LUKS passphrase'),
}

type CreateOptions = OptionValues<typeof options>

const invalid = (message: string): BlockError => new BlockError('EINVAL', message)

/** Whether the image is to be encrypted. @throws BlockError EINVAL, in QEMU's words */
function isEncrypted(given: CreateOptions): boolean {
  const format = given['encrypt.format']
  const keySecret = given['encrypt.key-secret']
  if (given.encryption === true && format !== undefined)
    throw invalid("'encrypt.format' and its alias 'encryption' can't be used at the same time")
  if (given.encryption !== true && format === undefined) {
    if (keySecret !== undefined) throw invalid("Parameter 'encrypt.format' is missing")
    return false
  }
  if (format === 'luks') throw invalid('Unsupported encryption format')
  if (format !== undefined && format !== 'aes' && format !== 'qcow')
    throw invalid(`Parameter 'encrypt.format' does not accept value '${format}'`)
  if (keySecret === undefined) throw invalid("Parameter 'encrypt.key-secret' is required for cipher")
  return true
}

/** A new image without data. */
interface Draft {
  /** The header, with the backing file's name behind it. */
  readonly head: Uint8Array
  /** Bytes of the file: the head, and an L1 table of whole sectors. */
  readonly length: number
}

/** @throws BlockError EINVAL, in QEMU's words */
function draftOf(given: CreateOptions): Draft {
  if (given.size === undefined) throw invalid('Image creation needs a size parameter')
  if (given.size === 0) throw invalid('Image size is too small, cannot be zero length')
  const bytes = alignUp(given.size, SECTOR)
  const { backing_file: backingFile } = given
  const name = new TextEncoder().encode(backingFile ?? '')
  if (name.length > MAX_BACKING_NAME) throw invalid('Backing file name too long')
  const { clusterBits, l2Bits } = backingFile === undefined ? ALONE : OVER
  const { l1Bytes } = geometryOf(clusterBits, l2Bits, bytes)
  const l1TableOffset = alignUp(HEADER_BYTES + name.length, 8)
  const head = new Uint8Array(HEADER_BYTES + name.length)
  HEADER.write(head, {
    magic: MAGIC,
    version: VERSION,
    backingNameOffset: backingFile === undefined ? 0 : HEADER_BYTES,
    backingNameSize: name.length,
    mtime: 0,
    size: bytes,
    clusterBits,
    l2Bits,
    padding: 0,
    cryptMethod: isEncrypted(given) ? CryptMethod.aes : CryptMethod.none,
    l1TableOffset,
  })
  head.set(name, HEADER_BYTES)
  return { head, length: l1TableOffset + alignUp(l1Bytes, SECTOR) }
}

/**
 * Formats `file`: a header and an empty L1 table, which the file need not store. The header is written last.
 *
 * @throws BlockError EINVAL, in QEMU's words; the error of the file
 */
async function create({ file, options: given, secret }: CreateContext<CreateOptions>): Promise<void> {
  const { head, length } = draftOf(given)
  const keySecret = given['encrypt.key-secret']
  // An image that its key could not open would be of no use.
  if (keySecret !== undefined && secret) await withAesKey(secret, keySecret, async () => undefined)
  // What follows the L1 table is free: old content must go.
  if (file.growable && file.size > 0) await file.truncate(0, { exact: true })
  await file.truncate(length, { exact: file.growable })
  await forgetContent(file)
  // A device keeps its old content.
  if (!file.growable) await file.writeZeroes(0, length)
  await file.write(0, head)
  await file.flush()
}

/** The making of images. */
export const qcowCreation: Creation<typeof options> = {
  options,
  check: async (given) => void draftOf(given),
  create,
}
