/**
 * Finds runs of zeroes that are long enough to be left out of a copy. Works in aligned blocks: a target that
 * has to read, change and write back a block gains nothing from a hole in a part of it.
 */
import { isZero, SECTOR } from '../base/bits.ts'

/** Tests whether every byte is zero. */
export type ZeroTest = (bytes: Uint8Array) => boolean

/** How to search for zeroes. */
export interface SparseRunsOptions {
  /** Bytes: shorter runs of zeroes after data count as data. A multiple of 512. */
  readonly minimum: number
  /** Bytes: runs end at multiples of this. A power of two, at least 512. */
  readonly alignment: number
  /** A faster test than the portable one. */
  readonly isZero?: ZeroTest | undefined
}

/** A run of bytes that are all zero, or that must be written. */
export interface SparseRun {
  /** At least 1. */
  readonly bytes: number
  readonly zero: boolean
}

/** Bytes per test once zeroes have begun; testing more at once wastes time if the zeroes end soon. */
const STRETCH = 64 * 1024

/** Divides buffers into runs. Sizes and offsets in bytes; buffers begin at multiples of four in their memory. */
export class SparseRuns {
  readonly #minimum: number
  readonly #alignment: number
  readonly #isZero: ZeroTest

  constructor(options: SparseRunsOptions) {
    this.#minimum = options.minimum
    this.#alignment = options.alignment
    this.#isZero = options.isZero ?? isZero
  }

  /**
   * The first run of `data`, which lies at `offset` of the disk, a multiple of 512. Only zeroes at the end of `data`
   * may be shorter than the minimum.
   */
  first(data: Uint8Array, offset: number): SparseRun {
    const { length } = data
    const words = new Uint32Array(data.buffer, data.byteOffset, Math.floor(length / 4))
    let at = this.#zeroesEnd(data, words, 0, offset)
    if (at > 0) return { bytes: at, zero: true }
    // For a buffer shorter than the minimum, its own length is the minimum.
    const minimum = Math.min(this.#minimum, Math.ceil(length / SECTOR) * SECTOR)
    for (;;) {
      const end = this.#dataEnd(data, words, at, offset)
      if (end === length) return { bytes: end, zero: false }
      at = this.#zeroesEnd(data, words, end, offset)
      if (at === length || at - end >= minimum) return { bytes: end, zero: false }
    }
  }

  /** The end of the block that contains `at`, or of the buffer. */
  #blockEnd(at: number, offset: number, length: number): number {
    return Math.min(at + this.#alignment - ((offset + at) % this.#alignment), length)
  }

  /** The start of the first block, at or after `start`, that is zero. */
  #dataEnd(data: Uint8Array, words: Uint32Array, start: number, offset: number): number {
    let at = start
    while (at < data.length) {
      const end = this.#blockEnd(at, offset, data.length)
      // Most data is nonzero in its first word.
      if (!words[at / 4] && this.#isZero(data.subarray(at, end))) return at
      at = end
    }
    return at
  }

  /** The start of the first block, at or after `start`, that is not zero. */
  #zeroesEnd(data: Uint8Array, words: Uint32Array, start: number, offset: number): number {
    let at = start
    let tested = 0
    while (at < data.length && !words[at / 4]) {
      const end = this.#blockEnd(at, offset, data.length)
      if (!this.#isZero(data.subarray(at, end))) return at
      at = end
      // After a stretch that is not all zero, its blocks are tested one by one before the next stretch is.
      if (this.#alignment >= STRETCH || at < tested) continue
      while (at + STRETCH <= data.length && this.#isZero(data.subarray(at, at + STRETCH))) at += STRETCH
      tested = at + STRETCH
    }
    return at
  }
}
