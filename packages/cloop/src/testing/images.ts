/** Makes cloop images, as `create_compressed_fs` does, but for the compression. */
import { NUMBERS, NUMBERS_AT, SCRIPT, TABLE_AT } from '../format/header.ts'

/** What an image shall be like. */
export interface CloopWishes {
  /** Bytes of a block. Default: 4096. */
  readonly blockSize?: number
  /** Compresses a block into zlib's container. Default: it is stored. */
  compress?(block: Uint8Array): Uint8Array
}

/** An image with this content, which is filled up with zeroes to whole blocks. */
export function cloopImage(
  content: Uint8Array,
  { blockSize = 4096, compress = stored }: CloopWishes = {},
): Uint8Array {
  const blocks = Math.ceil(content.length / blockSize)
  const parts: Uint8Array[] = []
  const offsets = [TABLE_AT + (blocks + 1) * 8]
  for (let i = 0; i < blocks; i++) {
    const block = new Uint8Array(blockSize)
    block.set(content.subarray(i * blockSize, (i + 1) * blockSize))
    const data = compress(block)
    parts.push(data)
    offsets.push(offsets[i]! + data.length)
  }
  const image = new Uint8Array(offsets.at(-1)!)
  image.set(Uint8Array.from(SCRIPT, (character) => character.charCodeAt(0)))
  NUMBERS.write(image, { blockSize, blocks }, NUMBERS_AT)
  const view = new DataView(image.buffer)
  for (const [i, offset] of offsets.entries()) view.setBigUint64(TABLE_AT + i * 8, BigInt(offset))
  for (const [i, part] of parts.entries()) image.set(part, offsets[i]!)
  return image
}

/** Bytes of the longest stored piece of a deflate stream. */
const PIECE = 65535

/** A block in zlib's container that is not compressed. */
export function stored(block: Uint8Array): Uint8Array {
  const data: number[] = [0x78, 0x01]
  let [a, b] = [1, 0]
  for (let at = 0; at < block.length; at += PIECE) {
    const piece = block.subarray(at, at + PIECE)
    const bytes = piece.length
    const low = (value: number): number[] => [value & 0xff, value >>> 8]
    data.push(at + PIECE >= block.length ? 1 : 0, ...low(bytes), ...low(0xffff - bytes))
    for (const byte of piece) {
      data.push(byte)
      a = (a + byte) % 65521
      b = (b + a) % 65521
    }
  }
  data.push(b >>> 8, b & 0xff, a >>> 8, a & 0xff)
  return Uint8Array.from(data)
}
