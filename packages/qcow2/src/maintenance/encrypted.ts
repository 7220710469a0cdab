/** Encrypted images: facts that need no key, and the errors for all else. */
import { BlockError, type NodeOps, type OpenContext } from '@vmblock/block-core/driver'
import { LUKS_HEADER_BYTES, luksFacts } from '../format/luks-header.ts'
import type { Image } from '../image/image.ts'
import type { RuntimeOptions } from '../options/options.ts'
import { listSnapshots } from '../snapshots/snapshots.ts'
import { info } from './info.ts'

/** Encryption methods, by their number in the header. */
const METHODS = ['none', 'aes', 'luks']

/**
 * Judges the encryption settings of header and options.
 *
 * @param method the header's number
 * @throws BlockError EINVAL, in QEMU's words, if they contradict each other, or a key is needed and none is
 *   named; ENOTSUP if one is named: no cipher is implemented
 */
export function requireDescribable(method: number, context: OpenContext<RuntimeOptions>): void {
  const { 'encrypt.format': given, 'encrypt.keySecret': key } = context.options
  const fail = (code: 'EINVAL' | 'ENOTSUP', message: string): BlockError =>
    new BlockError(code, message, { node: context.nodeName })
  const format = METHODS[method]!
  if (method === 0) {
    const what = given === undefined ? "'encrypt.key-secret'" : `format '${given}'`
    throw fail('EINVAL', `No encryption in image header, but options specified ${what}`)
  }
  if (given !== undefined && given !== format)
    throw fail('EINVAL', `Header reported '${format}' encryption format but options specify '${given}'`)
  if (context.noIo && context.readOnly) return
  if (key === undefined) throw fail('EINVAL', "Parameter 'encrypt.key-secret' is required for cipher")
  throw fail(
    'ENOTSUP',
    `the image is encrypted (${format}): its disk cannot be read or written yet, with or without a key`,
  )
}

/**
 * The operations of an encrypted image that was opened only to be described.
 *
 * @throws BlockError for a broken LUKS header
 */
export async function describedImage(image: Image, nodeName: string): Promise<NodeOps> {
  const encrypt = await factsOf(image)
  const isLocked = (): Promise<never> =>
    Promise.reject(
      new BlockError('EINVAL', "Parameter 'encrypt.key-secret' is required for cipher", { node: nodeName }),
    )
  return {
    size: () => image.size,
    read: isLocked,
    info: () => info(image, encrypt),
    listSnapshots: () => listSnapshots(image),
    close: async () => image.dropCaches(),
    crash: () => image.dropCaches(),
  }
}

async function factsOf({ header, file }: Image): Promise<Readonly<Record<string, unknown>>> {
  if (header.cryptMethod === 1) return { format: 'aes' }
  const range = header.extensions.luksHeader
  if (!range) throw new BlockError('EINVAL', 'Missing encryption header')
  // A header that is cut short is filled up with zeroes, as in QEMU.
  const bytes = new Uint8Array(LUKS_HEADER_BYTES)
  const there = Math.min(LUKS_HEADER_BYTES, range.length, Math.max(file.size - range.offset, 0))
  if (there > 0) await file.read(range.offset, bytes.subarray(0, there))
  return luksFacts(bytes)
}
