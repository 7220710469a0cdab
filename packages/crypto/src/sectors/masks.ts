/** The bytes that modes mix into blocks, for many sectors at once: without branches that depend on keys. */
import { viewOf } from '@vmblock/block-core/driver'
import { BLOCK } from './initial-vectors.ts'

/** Mixes `mask` into `target`: both aligned to 4 bytes, and a multiple of 4 long. */
export function mix(target: Uint8Array, mask: Uint8Array): void {
  const to = new Uint32Array(target.buffer, target.byteOffset, target.length / 4)
  const from = new Uint32Array(mask.buffer, mask.byteOffset, mask.length / 4)
  for (let i = 0; i < to.length; i++) to[i]! ^= from[i]!
}

/**
 * The tweaks of XTS (IEEE 1619): the first of a sector is its encrypted number, and each one is twice the one before in
 * GF(2^128).
 *
 * @param firsts the first tweaks of consecutive sectors
 * @param into as many sectors
 * @param sectorBytes bytes of a sector
 */
export function fillTweaks(firsts: Uint8Array, into: Uint8Array, sectorBytes: number): void {
  const first = viewOf(firsts)
  const view = viewOf(into)
  for (let from = 0, at = 0; from < firsts.length; from += BLOCK) {
    let a = first.getInt32(from, true)
    let b = first.getInt32(from + 4, true)
    let c = first.getInt32(from + 8, true)
    let d = first.getInt32(from + 12, true)
    for (const end = at + sectorBytes; at < end; at += BLOCK) {
      view.setInt32(at, a, true)
      view.setInt32(at + 4, b, true)
      view.setInt32(at + 8, c, true)
      view.setInt32(at + 12, d, true)
      const carry = (d >> 31) & 0x87
      d = (d << 1) | (c >>> 31)
      c = (c << 1) | (b >>> 31)
      b = (b << 1) | (a >>> 31)
      a = (a << 1) ^ carry
    }
  }
}

/** The counters of CTR: the first of a sector is its vector, as a big-endian number; parameters as of {@link fillTweaks}. */
export function fillCounters(firsts: Uint8Array, into: Uint8Array, sectorBytes: number): void {
  const view = viewOf(into)
  for (let from = 0, at = 0; from < firsts.length; from += BLOCK) {
    const start = at
    for (const end = at + sectorBytes; at < end; at += BLOCK) {
      if (at === start) into.set(firsts.subarray(from, from + BLOCK), at)
      else into.copyWithin(at, at - BLOCK, at)
      if (at > start) increment(view, at)
    }
  }
}

function increment(view: DataView, at: number): void {
  for (let word = at + BLOCK - 4; word >= at; word -= 4) {
    const next = (view.getUint32(word) + 1) >>> 0
    view.setUint32(word, next)
    if (next !== 0) return
  }
}
