/** Opens an {@link Image} from a file. */
import { BlockError, type OpenContext } from '@vmblock/block-core/driver'
import { diskCrypto, type SectorCipher } from '@vmblock/crypto'
import { HEADER_BYTES, type Header, parseHeader } from './format/header.ts'
import { Image } from './image.ts'
import { AES, withAesKey } from './secret.ts'

/** The runtime options. */
export interface RuntimeOptions {
  readonly 'encrypt.format': string | undefined
  /** The id of the secret with the key. */
  readonly 'encrypt.keySecret': string | undefined
}

type Context = OpenContext<RuntimeOptions, 'file' | 'backing'>

/**
 * Opens an image. An encrypted one that is only to be described needs no key.
 *
 * @throws BlockError in QEMU's words
 */
export async function openImage(context: Context): Promise<Image> {
  const { nodeName } = context
  const file = await context.requireChild('file')
  const bytes = new Uint8Array(Math.min(HEADER_BYTES, file.size))
  await file.read(0, bytes)
  const header = parseHeader(bytes, file.size)
  const isKeyNeeded = requireConsistent(context, header)
  const backingName = await readBackingName(file, header)
  const cipher = isKeyNeeded ? await openCipher(context) : undefined
  const image = new Image({ nodeName, header, file, backingName, cipher })
  image.backing = await context.child(
    'backing',
    backingName === undefined ? undefined : { filename: backingName },
  )
  return image
}

async function openCipher({ options, secret }: Context): Promise<SectorCipher> {
  return withAesKey(secret, options['encrypt.keySecret']!, async (key) => diskCrypto.sectorCipher(AES, key))
}

/**
 * Whether the image is to be unlocked.
 *
 * @throws BlockError EINVAL, in QEMU's words, if the options contradict the header, or no key is named
 */
function requireConsistent({ options, nodeName, noIo, readOnly }: Context, { isEncrypted }: Header): boolean {
  const { 'encrypt.format': format, 'encrypt.keySecret': keySecret } = options
  const fail = (message: string): BlockError => new BlockError('EINVAL', message, { node: nodeName })
  if (!isEncrypted) {
    const what = format === undefined ? "'encrypt.key-secret'" : `format '${format}'`
    if (format !== undefined || keySecret !== undefined)
      throw fail(`No encryption in image header, but options specified ${what}`)
    return false
  }
  if (format !== undefined && format !== 'aes')
    throw fail(`Header reported 'aes' encryption format but options specify '${format}'`)
  if (noIo && readOnly) return false
  if (keySecret === undefined) throw fail("Parameter 'encrypt.key-secret' is required for cipher")
  return true
}

async function readBackingName(
  file: Awaited<ReturnType<Context['requireChild']>>,
  { backingNameOffset, backingNameSize }: Header,
): Promise<string | undefined> {
  if (backingNameOffset === 0 || backingNameSize === 0) return undefined
  const bytes = new Uint8Array(backingNameSize)
  const there = Math.min(backingNameSize, file.size - backingNameOffset)
  if (there > 0) await file.read(backingNameOffset, bytes.subarray(0, there))
  // The name ends at a zero byte, if there is one.
  const end = bytes.indexOf(0)
  const name = new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end))
  return name === '' ? undefined : name
}
