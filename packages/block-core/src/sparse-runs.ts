/**
 * Where data that is to be copied is zero for long enough to be left out. Sectors are looked at, runs are cut to
 * an alignment: a target that had to read, change and write back a block gains nothing from a hole in it.
 */
import { isZero, SECTOR } from './bits.ts'

/** Says whether every byte is zero. */
export type ZeroTest = (bytes: Uint8Array) => boolean

/** How zeroes are looked for. */
export interface SparseRunsOptions {
  /** Bytes: shorter runs of zeroes behind data are data too. A multiple of 512. */
  readonly minimum: number
  /** Bytes: runs end at multiples of this. A power of two, at least 512. */
  readonly alignment: number
  /** A quicker test than the portable one. */
  readonly isZero?: ZeroTest | undefined
}

/** Bytes that all are zero, or that are to be written. */
export interface SparseRun {
  /** At least 1. */
  readonly bytes: number
  readonly zero: boolean
}

const WORDS = SECTOR / 4
/** Sectors that are tested at once where zeroes have begun. */
const BLOCK = 128

/** Divides buffers into runs. Sizes and offsets in bytes; buffers begin at multiples of four. */
export class SparseRuns {
  readonly #minimum: number
  readonly #alignment: number
  readonly #isZero: ZeroTest

  constructor(options: SparseRunsOptions) {
    this.#minimum = options.minimum / SECTOR
    this.#alignment = options.alignment / SECTOR
    this.#isZero = options.isZero ?? isZero
  }

  /**
   * The first run of `data`, which lies at `offset` of the disk, a multiple of 512. Only zeroes at the end of `data`
   * may be shorter than the minimum.
   */
  first(data: Uint8Array, offset: number): SparseRun {
    const { length } = data
    const count = Math.ceil(length / SECTOR)
    const sector = offset / SECTOR
    const sectors = new Sectors(data, this.#isZero)
    const minimum = Math.min(this.#minimum, count)
    let run = this.#aligned(sectors, 0, count, sector)
    if (run.zero) return { bytes: Math.min(run.end * SECTOR, length), zero: true }
    let end = run.end
    while (run.end < count) {
      const start = run.end
      run = this.#aligned(sectors, start, count, sector)
      if (!run.zero) end = run.end
      else if (run.end - start >= minimum) break
    }
    return { bytes: Math.min(end * SECTOR, length), zero: false }
  }

  /** The run of equal sectors from `start`, cut to the alignment: a block that is zero in part only is data. */
  #aligned(sectors: Sectors, start: number, count: number, base: number): { end: number; zero: boolean } {
    const zero = sectors.isZero(start)
    const end = zero ? sectors.zeroesEnd(start, count) : sectors.dataEnd(start, count)
    // Alignments exceed 2^31 bytes never, but offsets do: no 32-bit operators here.
    const beyond = (base + end) % this.#alignment
    if (end === count || beyond === 0) return { end, zero }
    if (zero && end - start > beyond) return { end: end - beyond, zero }
    return { end: Math.min(end + this.#alignment - beyond, count), zero: false }
  }
}

/** A buffer in sectors, the last of which may be short. */
class Sectors {
  readonly #data: Uint8Array
  readonly #words: Uint32Array
  readonly #test: ZeroTest

  constructor(data: Uint8Array, test: ZeroTest) {
    this.#data = data
    this.#words = new Uint32Array(data.buffer, data.byteOffset, Math.floor(data.length / 4))
    this.#test = test
  }

  isZero(sector: number): boolean {
    const words = this.#words
    const first = sector * WORDS
    // Most data shows in its first word.
    if (first < words.length && words[first] !== 0) return false
    const end = first + WORDS
    if (end > words.length) return isZero(this.#data.subarray(sector * SECTOR))
    for (let i = first + 1; i < end; i++) if (words[i] !== 0) return false
    return true
  }

  dataEnd(start: number, count: number): number {
    const words = this.#words
    let sector = start
    while (sector < count && (words[sector * WORDS] || !this.isZero(sector))) sector++
    return sector
  }

  zeroesEnd(start: number, count: number): number {
    let sector = start
    for (;;) {
      while (
        sector + BLOCK <= count &&
        this.#test(this.#data.subarray(sector * SECTOR, (sector + BLOCK) * SECTOR))
      )
        sector += BLOCK
      // The block has data in it, or is the last.
      const end = Math.min(sector + BLOCK, count)
      while (sector < end && this.isZero(sector)) sector++
      if (sector < end || sector === count) return sector
    }
  }
}
