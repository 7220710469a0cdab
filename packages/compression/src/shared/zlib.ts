/** The zlib container (RFC 1950): a header of two bytes, raw deflate, and the Adler-32 of the content. */
import type { Codec } from './codec.ts'

/** Reads blocks in a zlib container, with what inflates raw deflate. */
export const zlibOver = (deflate: Codec): Pick<Codec, 'decompress'> => ({
  async decompress(data, size) {
    checkHeader(data)
    const block = await deflate.decompress(data.subarray(HEADER), size)
    if (!endsWith(data, adler32(block)))
      throw new Error('The zlib data does not have the checksum of its content, or gives more than the block')
    return block
  },
})

const HEADER = 2
const DEFLATED = 8
const LARGEST_WINDOW = 7
const HAS_DICTIONARY = 0x20

function checkHeader(data: Uint8Array): void {
  const [method = 0, flags = 0] = data
  const known = (method & 0xf) === DEFLATED && method >>> 4 <= LARGEST_WINDOW
  if (!known || (method * 256 + flags) % 31 !== 0)
    throw new Error('The data does not begin as zlib data does')
  if ((flags & HAS_DICTIONARY) !== 0) throw new Error('The zlib data needs a dictionary')
}

/**
 * Whether the checksum is there. Inflating does not say where the deflated data ends, and something else may follow
 * the checksum: so it is looked for from the end.
 */
function endsWith(data: Uint8Array, checksum: number): boolean {
  const first = checksum >>> 24
  for (let at = data.lastIndexOf(first, -4); at >= HEADER; at = data.lastIndexOf(first, at - 1))
    if (
      data[at + 1] === ((checksum >>> 16) & 0xff) &&
      data[at + 2] === ((checksum >>> 8) & 0xff) &&
      data[at + 3] === (checksum & 0xff)
    )
      return true
  return false
}

/** The largest prime below 2^16. */
const MODULUS = 65521
/** Bytes that may be added up before a sum needs more than 32 bits. */
const RUN = 5552

/** The checksum of zlib, as an unsigned 32-bit number. */
export function adler32(data: Uint8Array): number {
  let a = 1
  let b = 0
  for (let at = 0; at < data.length; ) {
    const end = Math.min(at + RUN, data.length)
    for (; at < end; at++) {
      a += data[at]!
      b += a
    }
    a %= MODULUS
    b %= MODULUS
  }
  return b * 65536 + a
}
