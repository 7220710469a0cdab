/**
 * Refcounts of 1 to 64 bits in a refcount block. Those smaller than a byte fill it from the lowest bit up.
 */
import { TWO_32 } from '@vmblock/block-core/driver'

/**
 * Reads and writes refcounts of one width. `index` counts refcounts in `block`.
 *
 * A 64-bit count above 2^53-1 reads as Infinity: no image holds that many references, so it is corrupt.
 */
export interface RefcountAccess {
  /** Bits. */
  readonly bits: number
  /** Largest count that can be stored; 2^53-1 for 64 bits. */
  readonly max: number
  get(block: Uint8Array, index: number): number
  /** @param value 0 to `max`, unchecked */
  set(block: Uint8Array, index: number, value: number): void
}

/** 1, 2 or 4 bits. */
function belowByte(order: number): RefcountAccess {
  const bits = 1 << order
  const perByteBits = 3 - order
  const inByte = (1 << perByteBits) - 1
  const max = (1 << bits) - 1
  return {
    bits,
    max,
    get: (block, index) => (block[index >>> perByteBits]! >>> ((index & inByte) << order)) & max,
    set(block, index, value) {
      const at = index >>> perByteBits
      const shift = (index & inByte) << order
      block[at] = (block[at]! & ~(max << shift)) | (value << shift)
    },
  }
}

const get32 = (block: Uint8Array, at: number): number =>
  ((block[at]! << 24) | (block[at + 1]! << 16) | (block[at + 2]! << 8) | block[at + 3]!) >>> 0

function set32(block: Uint8Array, at: number, value: number): void {
  block[at] = value >>> 24
  block[at + 1] = value >>> 16
  block[at + 2] = value >>> 8
  block[at + 3] = value
}

const byte: RefcountAccess = {
  bits: 8,
  max: 0xff,
  get: (block, index) => block[index]!,
  set(block, index, value) {
    block[index] = value
  },
}

const twoBytes: RefcountAccess = {
  bits: 16,
  max: 0xffff,
  get: (block, index) => (block[index * 2]! << 8) | block[index * 2 + 1]!,
  set(block, index, value) {
    block[index * 2] = value >>> 8
    block[index * 2 + 1] = value
  },
}

const fourBytes: RefcountAccess = {
  bits: 32,
  max: TWO_32 - 1,
  get: (block, index) => get32(block, index * 4),
  set: (block, index, value) => set32(block, index * 4, value),
}

const eightBytes: RefcountAccess = {
  bits: 64,
  max: Number.MAX_SAFE_INTEGER,
  get(block, index) {
    const value = get32(block, index * 8) * TWO_32 + get32(block, index * 8 + 4)
    return value > Number.MAX_SAFE_INTEGER ? Number.POSITIVE_INFINITY : value
  },
  set(block, index, value) {
    set32(block, index * 8, Math.floor(value / TWO_32))
    set32(block, index * 8 + 4, value % TWO_32)
  },
}

const BY_ORDER: readonly RefcountAccess[] = [
  belowByte(0),
  belowByte(1),
  belowByte(2),
  byte,
  twoBytes,
  fourBytes,
  eightBytes,
]

/** Access for refcounts of `2 ** order` bits. @param order 0 to 6 */
export const refcountAccess = (order: number): RefcountAccess => BY_ORDER[order]!
