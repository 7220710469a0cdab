/**
 * The bitmaps in front of blocks, which say which sectors of a block hold data. Most blocks are full, which takes a bit of
 * memory each; the bitmaps of others are kept, up to a limit, and changes until a flush.
 */
import type { BlockChild } from '@vmblock/block-core/driver'

/** Bytes of bitmaps that are kept without need. */
const KEPT_BYTES = 2 ** 24

/** Sectors of a block that are in the same state. */
export interface SectorRun {
  readonly hasData: boolean
  /** How many. */
  readonly count: number
}

const isSet = (bits: Uint8Array, sector: number): boolean =>
  (bits[sector >> 3]! & (0x80 >> (sector & 7))) !== 0

/** The run at `sector`, at most up to `end`. */
export function runIn(bits: Uint8Array, sector: number, end: number): SectorRun {
  const hasData = isSet(bits, sector)
  const whole = hasData ? 0xff : 0
  let at = sector + 1
  while (at < end) {
    if ((at & 7) === 0 && bits[at >> 3] === whole) at += 8
    else if (isSet(bits, at) === hasData) at++
    else break
  }
  return { hasData, count: Math.min(at, end) - sector }
}

/** A bitmap that is to be written. */
export interface ChangedBitmap {
  readonly index: number
  readonly bits: Uint8Array
}

/** The bitmaps of an image, by the indexes of blocks. */
export class Bitmaps {
  readonly #file: BlockChild
  /** Bytes of one. */
  readonly #bytes: number
  /** Sectors of a block. */
  readonly #sectors: number
  readonly #full = new Set<number>()
  readonly #kept = new Map<number, Uint8Array>()
  readonly #loading = new Map<number, Promise<void>>()
  readonly #changed = new Set<number>()
  /** Those that a flush is writing. */
  #storing: ReadonlySet<number> = new Set()

  constructor(file: BlockChild, bytes: number, sectors: number) {
    this.#file = file
    this.#bytes = bytes
    this.#sectors = sectors
  }

  /** Whether every sector of the block is known to hold data. */
  isFull(index: number): boolean {
    return this.#full.has(index)
  }

  /** The bits of a block, if they are in memory. They are not to be changed, and may be out of date after an `await`. */
  peek(index: number): Uint8Array | undefined {
    return this.#kept.get(index)
  }

  /** Brings the bits of a block into memory, from host offset `at`: afterwards it is full, or {@link peek} has them. */
  async load(index: number, at: number): Promise<void> {
    let loading = this.#loading.get(index)
    if (!loading) {
      loading = this.#read(index, at).finally(() => this.#loading.delete(index))
      this.#loading.set(index, loading)
    }
    await loading
  }

  async #read(index: number, at: number): Promise<void> {
    const bits = new Uint8Array(this.#bytes)
    await this.#file.read(at, bits)
    if (this.#full.has(index) || this.#kept.has(index)) return
    if (runIn(bits, 0, this.#sectors).count === this.#sectors && isSet(bits, 0)) this.#full.add(index)
    else this.#keep(index, bits)
  }

  /** A new block has this bitmap, which is in the file already. */
  add(index: number, isFull: boolean): void {
    if (isFull) this.#full.add(index)
    else this.#keep(index, new Uint8Array(this.#bytes))
  }

  /** From now on these sectors of a block hold data; its bitmap is at host offset `at`. */
  async mark(index: number, from: number, end: number, at: number): Promise<void> {
    let bits = this.peek(index)
    while (!bits && !this.#full.has(index)) {
      await this.load(index, at)
      bits = this.peek(index)
    }
    if (!bits || this.#full.has(index)) return
    const run = runIn(bits, from, end)
    if (run.hasData && run.count === end - from) return
    for (let sector = from; sector < end; ) {
      if ((sector & 7) === 0 && end - sector >= 8) {
        bits[sector >> 3] = 0xff
        sector += 8
      } else {
        bits[sector >> 3]! |= 0x80 >> (sector & 7)
        sector++
      }
    }
    this.#changed.add(index)
  }

  /** Copies of what has changed, by index. {@link stored} or {@link failed} has to follow. */
  takeChanged(): ChangedBitmap[] {
    const indexes = [...this.#changed].sort((a, b) => a - b)
    this.#changed.clear()
    this.#storing = new Set(indexes)
    return indexes.map((index) => ({ index, bits: this.#kept.get(index)!.slice() }))
  }

  /** They are in the file. */
  stored(written: readonly ChangedBitmap[]): void {
    this.#storing = new Set()
    for (const { index, bits } of written) {
      if (this.#changed.has(index) || !isSet(bits, 0) || runIn(bits, 0, this.#sectors).count < this.#sectors)
        continue
      this.#full.add(index)
      this.#kept.delete(index)
    }
    this.#evict()
  }

  /** They may not be in the file. */
  failed(taken: readonly ChangedBitmap[]): void {
    this.#storing = new Set()
    for (const { index } of taken) this.#changed.add(index)
  }

  get hasChanges(): boolean {
    return this.#changed.size > 0
  }

  #keep(index: number, bits: Uint8Array): void {
    this.#evict()
    this.#kept.set(index, bits)
  }

  /** Makes room for one more. */
  #evict(): void {
    const most = Math.max(Math.floor(KEPT_BYTES / this.#bytes), 1)
    if (this.#kept.size < most) return
    for (const index of this.#kept.keys()) {
      if (this.#changed.has(index) || this.#storing.has(index)) continue
      this.#kept.delete(index)
      if (this.#kept.size < most) return
    }
  }
}
