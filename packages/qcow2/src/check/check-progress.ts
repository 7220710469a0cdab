/**
 * How far a check is, in tables: L2 tables and refcount blocks. A repair may walk over them again, which adds to their
 * number; so do snapshots, whose tables are found on the way.
 */
import { type JobControl, viewOf } from '@vmblock/block-core/driver'
import type { Image } from '../image/image.ts'

/** Counts tables, and stops between two of them when the job does. */
export class CheckProgress {
  readonly #control: JobControl
  #done = 0
  #total = 0

  constructor(control: JobControl) {
    this.#control = control
  }

  /** The check is going to read that many more tables. */
  expect(tables: number): void {
    this.#total += tables
  }

  /** All references are going to be counted and compared. */
  expectWalk(image: Image): void {
    this.expectTables(image)
    this.expectComparison(image)
  }

  /** All active L2 tables are going to be read. */
  expectTables(image: Image): void {
    this.expect(entriesInUse(image.l1.bytes))
  }

  /** The refcounts are going to be compared. */
  expectComparison(image: Image): void {
    this.expect(entriesInUse(image.refcountTable.bytes))
  }

  /**
   * The next table is about to be read.
   *
   * @param drain waits for the tables that are being read ahead
   * @returns what {@link JobControl.checkpoint} does
   */
  next(drain?: () => Promise<void>): Promise<void> | undefined {
    this.#control.report(this.#done, Math.max(this.#total, this.#done))
    this.#done++
    return this.#control.checkpoint(drain)
  }

  /** The check is complete: tables that could not be read count as done. */
  end(): void {
    const total = Math.max(this.#total, this.#done)
    this.#control.report(total, total)
  }
}

/** Entries of a table of 64-bit words that are not 0. */
function entriesInUse(table: Uint8Array): number {
  const view = viewOf(table)
  let count = 0
  for (let at = 0; at < table.length; at += 8)
    if (view.getUint32(at) !== 0 || view.getUint32(at + 4) !== 0) count++
  return count
}
