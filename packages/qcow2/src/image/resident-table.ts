/** A metadata table that is always in memory, in disk byte order: the L1 table or the refcount table. */
import { SECTOR, viewOf } from '@vmblock/block-core/driver'

/** The table, and the set of its sectors that have to be written. */
export class ResidentTable {
  readonly bytes: Uint8Array
  readonly view: DataView
  /** Indexes of sectors that differ from the disk. */
  readonly #dirty = new Set<number>()

  constructor(bytes: Uint8Array) {
    this.bytes = bytes
    this.view = viewOf(bytes)
  }

  get isDirty(): boolean {
    return this.#dirty.size > 0
  }

  /** Marks the sectors that contain [from, from + bytes) as changed. Offsets are relative to the table. */
  changed(from: number, bytes: number): void {
    for (let sector = Math.floor(from / SECTOR); sector * SECTOR < from + bytes; sector++)
      this.#dirty.add(sector)
  }

  /** Writes changed sectors, adjacent ones together. Sectors whose write fails stay marked. */
  async writeBack(write: (from: number, to: number) => Promise<void>): Promise<void> {
    const sectors = [...this.#dirty].sort((a, b) => a - b)
    for (let i = 0; i < sectors.length; ) {
      const first = sectors[i]!
      let end = first + 1
      while (sectors[++i] === end) end++
      await write(first * SECTOR, Math.min(end * SECTOR, this.bytes.length))
      for (let sector = first; sector < end; sector++) this.#dirty.delete(sector)
    }
  }
}
