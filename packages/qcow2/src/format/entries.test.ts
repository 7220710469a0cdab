import { TWO_32 } from '@vmblock/block-core/driver'
import { describe, expect, it } from 'vitest'
import { compressedEntryHi, compressedEntryLo } from './compressed-entry.ts'
import {
  ClusterKind,
  COMPRESSED_HI,
  COPIED_HI,
  compressedExtent,
  entryHi,
  entryLo,
  extendedL2Kind,
  hostOffsetOf,
  isCopied,
  l1Offset,
  l2Kind,
  maxCompressedOffset,
  refblockOffset,
  ZERO_LO,
} from './l2-entry.ts'
import {
  ALL_SUBCLUSTERS,
  allocMask,
  countSame,
  SubclusterKind,
  subclusterKind,
  undividedKind,
} from './subclusters.ts'

/** Random 32-bit words, the same in every run. */
function randomWords(seed: number): () => number {
  let state = seed
  return () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return state >>> 0
  }
}

const word64 = (hi: number, lo: number): bigint => (BigInt(hi) << 32n) | BigInt(lo)

const ROUNDS = 10_000

/** Like `expect(actual).toBe(wanted)`, which is too slow for the number of calls here. */
function same(actual: unknown, wanted: unknown): void {
  if (!Object.is(actual, wanted)) expect(actual).toBe(wanted)
}

describe('L1 and L2 entries', () => {
  it('agree with 64-bit arithmetic on random words', () => {
    const next = randomWords(1)
    for (let round = 0; round < ROUNDS; round++) {
      const hi = round % 3 === 0 ? next() & 0xc000_00ff : next()
      const lo = round % 5 === 0 ? next() & 1 : next()
      const word = word64(hi >>> 0, lo >>> 0)
      const offset = word & 0x00ff_ffff_ffff_fe00n
      same(BigInt(hostOffsetOf(hi, lo)), offset)
      same(l1Offset(hi, lo), hostOffsetOf(hi, lo))
      same(isCopied(hi), word >> 63n === 1n)
      const compressed = ((word >> 62n) & 1n) === 1n
      const zero = (word & 1n) === 1n
      const kind = compressed ? 4 : zero ? (offset ? 2 : 1) : offset ? 3 : 0
      same(l2Kind(hi, lo), kind)
      same(extendedL2Kind(hi, lo), compressed ? 4 : offset ? 3 : 0)
    }
  })

  it('come back from their offset and flag', () => {
    const next = randomWords(2)
    for (let round = 0; round < ROUNDS; round++) {
      const offset = (next() & 0xff_ffff) * TWO_32 + ((next() & 0xffff_fe00) >>> 0)
      const copied = round % 2 === 0
      const [hi, lo] = [entryHi(offset, copied), entryLo(offset)]
      same(hostOffsetOf(hi, lo), offset)
      same(isCopied(hi), copied)
      same(l2Kind(hi, lo), offset === 0 ? ClusterKind.unallocated : ClusterKind.normal)
    }
  })

  it('tell offset 0 of a data file from an unallocated cluster by COPIED', () => {
    expect(l2Kind(COPIED_HI, 0, true)).toBe(ClusterKind.normal)
    expect(l2Kind(COPIED_HI, 0, false)).toBe(ClusterKind.unallocated)
    expect(l2Kind(0, 0, true)).toBe(ClusterKind.unallocated)
    expect(l2Kind(COPIED_HI, ZERO_LO, true)).toBe(ClusterKind.zeroPlain)
    expect(extendedL2Kind(COPIED_HI, 0, true)).toBe(ClusterKind.normal)
  })

  it('hold refcount blocks without reserved bits', () => {
    expect(refblockOffset(1, 0x1ff)).toBe(TWO_32)
    expect(refblockOffset(0, 0xffff_ffff)).toBe(0xffff_fe00)
  })
})

describe('compressed cluster descriptors', () => {
  it.each([9, 12, 16, 21])('agree with 64-bit arithmetic for clusters of 2^%i', (clusterBits) => {
    const next = randomWords(clusterBits)
    const shift = BigInt(70 - clusterBits)
    for (let round = 0; round < ROUNDS; round++) {
      const [hi, lo] = [((next() & 0x3fff_ffff) | COMPRESSED_HI) >>> 0, next()]
      const word = word64(hi, lo)
      const offset = word & ((1n << shift) - 1n)
      const sectors = (word >> shift) & ((1n << BigInt(clusterBits - 8)) - 1n)
      const extent = compressedExtent(hi, lo, clusterBits)
      if (offset <= BigInt(Number.MAX_SAFE_INTEGER)) same(BigInt(extent.hostOffset), offset)
      same(BigInt(extent.bytes), (sectors + 1n) * 512n - (offset & 511n))
    }
  })

  it.each([9, 12, 16, 21])('come back from offset and length for clusters of 2^%i', (clusterBits) => {
    const next = randomWords(clusterBits)
    for (let round = 0; round < ROUNDS; round++) {
      const hostOffset =
        (next() * 2 ** 20 + (next() % 2 ** 20)) % Math.min(2 ** 53, maxCompressedOffset(clusterBits))
      const bytes = 1 + (next() % (2 ** clusterBits - 1))
      const hi = compressedEntryHi(hostOffset, bytes, clusterBits)
      const lo = compressedEntryLo(hostOffset)
      same(l2Kind(hi, lo), ClusterKind.compressed)
      same(isCopied(hi), false)
      const extent = compressedExtent(hi, lo, clusterBits)
      same(extent.hostOffset, hostOffset)
      const end = hostOffset + bytes
      same(extent.hostOffset + extent.bytes, end % 512 === 0 ? end : end - (end % 512) + 512)
    }
  })
})

describe('subclusters', () => {
  it('make masks of 32 bits, with both ends', () => {
    for (let from = 0; from <= 32; from++)
      for (let to = from; to <= 32; to++)
        same(BigInt(allocMask(from, to)), (1n << BigInt(to)) - (1n << BigInt(from)))
  })

  it('are counted as they are one by one', () => {
    const next = randomWords(3)
    for (let round = 0; round < ROUNDS; round++) {
      const [hi, lo] = round % 3 === 0 ? [0, 0] : [COPIED_HI, 0x10000]
      let allocated = round % 5 === 0 ? 0 : round % 7 === 0 ? ALL_SUBCLUSTERS : next() & next()
      const zeroes = (next() & ~allocated) >>> 0
      if (hi === 0) allocated = 0
      const from = next() % 32
      const kind = subclusterKind(hi, lo, zeroes, allocated >>> 0, from)
      let expected = 0
      while (
        from + expected < 32 &&
        subclusterKind(hi, lo, zeroes, allocated >>> 0, from + expected) === kind
      )
        expected++
      same(countSame(zeroes, allocated >>> 0, from, kind), expected)
    }
  })

  it('have the kinds of the specification', () => {
    const at = [COPIED_HI, 0x10000] as const
    expect(subclusterKind(...at, 0, 0, 5)).toBe(SubclusterKind.unallocatedAlloc)
    expect(subclusterKind(...at, 0, 1 << 5, 5)).toBe(SubclusterKind.normal)
    expect(subclusterKind(...at, 1 << 5, 0, 5)).toBe(SubclusterKind.zeroAlloc)
    expect(subclusterKind(...at, 1 << 31, 1 << 31, 5)).toBe(SubclusterKind.invalid)
    expect(subclusterKind(0, 0, 0, 0, 5)).toBe(SubclusterKind.unallocatedPlain)
    expect(subclusterKind(0, 0, 1 << 31, 0, 31)).toBe(SubclusterKind.zeroPlain)
    expect(subclusterKind(0, 0, 0, 1, 31)).toBe(SubclusterKind.invalid)
    expect(subclusterKind(COMPRESSED_HI, 0, 0, 0, 0)).toBe(SubclusterKind.compressed)
    expect(subclusterKind(COPIED_HI, 0, 0, 1, 0, true)).toBe(SubclusterKind.normal)
    expect(countSame(0, 0, 3, SubclusterKind.compressed)).toBe(29)
  })

  it('stand for whole clusters where these are not divided', () => {
    expect(undividedKind(0, 0)).toBe(SubclusterKind.unallocatedPlain)
    expect(undividedKind(0, ZERO_LO)).toBe(SubclusterKind.zeroPlain)
    expect(undividedKind(0, 0x10000 + ZERO_LO)).toBe(SubclusterKind.zeroAlloc)
    expect(undividedKind(0, 0x10000)).toBe(SubclusterKind.normal)
    expect(undividedKind(COMPRESSED_HI, 0)).toBe(SubclusterKind.compressed)
  })
})
