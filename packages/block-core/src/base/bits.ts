/** Arithmetic on offsets. Offsets reach 2^53-1, so nothing here uses 32-bit operators on them. */

import { wrongValue } from './arguments.ts'

/** 2^32, for joining and splitting 64-bit words. */
export const TWO_32 = 0x1_0000_0000

/** 512: the sector of the C block layer, and the smallest piece a disk writes atomically. */
export const SECTOR = 512

/** Largest multiple of `alignment` not above `value`. */
export const alignDown = (value: number, alignment: number): number => value - (value % alignment)

/** Smallest multiple of `alignment` not below `value`. */
export const alignUp = (value: number, alignment: number): number => {
  const rest = value % alignment
  return rest === 0 ? value : value + (alignment - rest)
}

/** `value / divisor`, rounded up. */
export const divUp = (value: number, divisor: number): number => Math.ceil(value / divisor)

/** Whether `value` is 1, 2, 4, ... (up to 2^52). */
export const isPowerOfTwo = (value: number): boolean => value >= 1 && Number.isInteger(Math.log2(value))

/** Whether [aStart, aEnd) and [bStart, bEnd) share a byte. */
export const overlaps = (aStart: number, aEnd: number, bStart: number, bEnd: number): boolean =>
  aStart < bEnd && bStart < aEnd

/** Whether every byte of `bytes` is zero. Reads words where alignment allows. @throws BlockError EINVAL */
export function isZero(bytes: Uint8Array): boolean {
  // Any value without bytes would pass for zeroes.
  if (!(bytes instanceof Uint8Array)) throw wrongValue('bytes', 'a Uint8Array', bytes)
  let index = 0
  const { length } = bytes
  // Most nonzero data differs from zero in its first bytes.
  const head = Math.min(length, 16)
  for (; index < head; index++) if (bytes[index] !== 0) return false
  while (index < length && (bytes.byteOffset + index) % 4 !== 0) if (bytes[index++] !== 0) return false
  const words = Math.floor((length - index) / 4)
  if (words > 0) {
    const view = new Uint32Array(bytes.buffer, bytes.byteOffset + index, words)
    let i = 0
    // Eight at once: a branch for each word would double the cost.
    for (; i + 8 <= words; i += 8) {
      const first = view[i]! | view[i + 1]! | view[i + 2]! | view[i + 3]!
      if ((first | view[i + 4]! | view[i + 5]! | view[i + 6]! | view[i + 7]!) !== 0) return false
    }
    for (; i < words; i++) if (view[i] !== 0) return false
    index += words * 4
  }
  for (; index < length; index++) if (bytes[index] !== 0) return false
  return true
}
