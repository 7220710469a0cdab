/** zlib streams (RFC 1950) around the raw deflate of `@vmblock/compression`: two bytes before it, and a checksum behind. */
import { viewOf } from '@vmblock/block-core/driver'

/** Deflate with a window of 4 KiB, level 6: what the codec writes. */
const HEAD = [0x48, 0x89] as const
const HEAD_BYTES = 2
const CHECKSUM_BYTES = 4
/** The most bytes of a stored block of deflate. */
const STORED = 0xffff

const MODULUS = 65521
/** Bytes after which the sums of Adler-32 may not fit into 32 bits. */
const PIECE = 5552

/** Adler-32. */
export function adler32(bytes: Uint8Array): number {
  let a = 1
  let b = 0
  for (let at = 0; at < bytes.length; ) {
    const end = Math.min(at + PIECE, bytes.length)
    for (; at < end; at++) {
      a += bytes[at]!
      b += a
    }
    a %= MODULUS
    b %= MODULUS
  }
  return b * 65536 + a
}

/** The deflated data in a zlib stream. @throws Error if it is none */
export function deflatedIn(stream: Uint8Array): Uint8Array {
  const [method = 0, flags = 0] = stream
  if ((method & 15) !== 8 || (method * 256 + flags) % 31 !== 0 || (flags & 32) !== 0)
    throw new Error('It does not begin like a zlib stream')
  return stream.subarray(HEAD_BYTES)
}

/** Whether the last bytes of a zlib stream are the checksum of `content`. */
export const hasChecksum = (stream: Uint8Array, content: Uint8Array): boolean =>
  stream.length > HEAD_BYTES + CHECKSUM_BYTES &&
  viewOf(stream).getUint32(stream.length - CHECKSUM_BYTES) === adler32(content)

/**
 * A zlib stream.
 *
 * @param deflated `content` deflated; undefined if that saves nothing: then it is stored
 */
export function zlibOf(content: Uint8Array, deflated: Uint8Array | undefined): Uint8Array {
  const body = deflated ?? stored(content)
  const stream = new Uint8Array(HEAD_BYTES + body.length + CHECKSUM_BYTES)
  stream.set(HEAD)
  stream.set(body, HEAD_BYTES)
  viewOf(stream).setUint32(stream.length - CHECKSUM_BYTES, adler32(content))
  return stream
}

/** Deflate without compression. */
function stored(content: Uint8Array): Uint8Array {
  const blocks = Math.max(1, Math.ceil(content.length / STORED))
  const body = new Uint8Array(content.length + blocks * 5)
  const view = viewOf(body)
  let to = 0
  for (let block = 0; block < blocks; block++) {
    const piece = content.subarray(block * STORED, (block + 1) * STORED)
    view.setUint8(to, block === blocks - 1 ? 1 : 0)
    view.setUint16(to + 1, piece.length, true)
    view.setUint16(to + 3, STORED - piece.length, true)
    body.set(piece, to + 5)
    to += 5 + piece.length
  }
  return body
}
