/**
 * Decodes an .xz stream of a known size. Source: the .xz file format, version 1.1, which is in the public domain. The only
 * filter that disk images have is LZMA2.
 */
import { crc32, crc64 } from './crc.ts'
import { decodeLzma2 } from './lzma.ts'

const MAGIC = [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00] as const
/** Bytes of the magic, the flags, and their checksum. */
const STREAM_HEADER = 12
const LZMA2 = 0x21

/** Kinds of checks of a block, by their number in the flags of the stream, that are verified. */
const CRC32 = 1
const CRC64 = 4
/** Bytes of all kinds, known or not. */
const CHECK_BYTES = [0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64]

const broken = (): Error => new Error('The xz data is broken')

/**
 * Decodes a stream.
 *
 * @param size bytes of the content; what follows the last block is ignored
 * @throws Error if the data is broken, or does not give exactly that
 */
export function decodeXz(data: Uint8Array, size: number): Uint8Array {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength)
  if (data.length < STREAM_HEADER || !MAGIC.every((byte, at) => data[at] === byte))
    throw new Error('The data does not begin as xz data does')
  const check = data[7]!
  if (data[6] !== 0 || check > 15 || view.getUint32(8, true) !== crc32(data.subarray(6, 8))) throw broken()
  const out = new Uint8Array(size)
  let at = STREAM_HEADER
  let filled = 0
  // A zero instead of the size of a header: the index of the blocks.
  while (at < data.length && data[at] !== 0) {
    const start = filled
    const packed = skipBlockHeader(data, view, at)
    const block = decodeLzma2(data, packed, out, start)
    filled = block.filled
    at = block.at + ((4 - ((block.at - packed) & 3)) & 3)
    const bytes = CHECK_BYTES[check]!
    if (at + bytes > data.length) throw new Error('The xz data is too short')
    if (!isChecked(view, at, check, out.subarray(start, filled)))
      throw new Error('A block of the xz data has another checksum')
    at += bytes
  }
  if (filled < size) throw new Error('The xz data gives less than the chunk')
  return out
}

/** Reads the header of a block, which must say LZMA2. @returns where the block begins */
function skipBlockHeader(data: Uint8Array, view: DataView, at: number): number {
  const end = at + data[at]! * 4 + 4
  if (end > data.length) throw new Error('The xz data is too short')
  if (view.getUint32(end - 4, true) !== crc32(data.subarray(at, end - 4))) throw broken()
  const flags = data[at + 1]!
  if ((flags & 3) !== 0) throw new Error('The xz data has filters other than LZMA2')
  if ((flags & 0x3c) !== 0) throw broken()
  let next = at + 2
  for (const hasSize of [flags & 0x40, flags & 0x80]) if (hasSize !== 0) next = skipNumber(data, next)
  if (data[next] !== LZMA2) throw new Error('The xz data has filters other than LZMA2')
  return end
}

/** A number of variable length: seven bits in each byte, and in the eighth whether another follows. */
function skipNumber(data: Uint8Array, at: number): number {
  let end = at
  while ((data[end] ?? 0) >= 0x80) end++
  return end + 1
}

function isChecked(view: DataView, at: number, check: number, block: Uint8Array): boolean {
  if (check === CRC32) return view.getUint32(at, true) === crc32(block)
  if (check !== CRC64) return true
  const [high, low] = crc64(block)
  return view.getUint32(at, true) === low && view.getUint32(at + 4, true) === high
}
