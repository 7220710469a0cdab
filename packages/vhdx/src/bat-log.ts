/**
 * The log as this driver writes it: changes of the block allocation table, which no power cut may tear.
 *
 *     first entry   entry -> both headers name the log
 *     more          entry (durable with the flush that follows)
 *     end           everything -> sectors of the table -> both headers name no log
 *
 * `->` is a flush of the file in between. Entries stand one behind the other from the start of the log. The sectors of
 * the table themselves are written only when the log is full, and at the end. Each log has a GUID of its own, so that
 * nothing that an earlier one left behind counts; and one sector stays free, because QEMU reads a full log in circles.
 */
import type { BlockChild } from '@vmblock/block-core/driver'
import { BlockError } from '@vmblock/block-core/driver'
import { type Guid, NO_GUID, randomGuid } from './format/guid.ts'
import { encodeEntry, entryBytes, LOG_SECTOR, sectorsThatFit } from './format/log-entry.ts'
import type { Region } from './format/regions.ts'
import type { Headers } from './headers.ts'

/** Most data sectors of one entry; what is more becomes several entries. */
const MAX_SECTORS = 4096

/** `unsure`: the headers may name the log, or no log. */
type LogState = 'closed' | 'open' | 'unsure'

/** Sectors of {@link LOG_SECTOR} bytes by host offset. */
export type Sectors = ReadonlyMap<number, Uint8Array>

/** See the head of this file. Its methods must not overlap. */
export class BatLog {
  readonly #file: BlockChild
  readonly #headers: Headers
  readonly #place: Region
  /** Bytes of entries that fit. */
  readonly #capacity: number
  #state: LogState = 'closed'
  #guid: Guid = NO_GUID
  /** Bytes of entries that are there. */
  #used = 0
  #sequence = 1n
  /** Sectors whose newest content is only in the log. */
  readonly #pending = new Map<number, Uint8Array>()

  /**
   * @param place where the log is; it names nothing yet
   * @param limit bytes of it that are used at most
   * @throws BlockError EINVAL if there is no room for an entry
   */
  constructor(file: BlockChild, headers: Headers, place: Region, limit = Number.POSITIVE_INFINITY) {
    this.#file = file
    this.#headers = headers
    this.#place = place
    this.#capacity = Math.min(place.length - LOG_SECTOR, limit)
    if (this.#capacity < entryBytes(1)) throw new BlockError('EINVAL', 'the VHDX image has no log')
  }

  /** The newest content of a sector, if the file does not have it. */
  sectorAt(offset: number): Uint8Array | undefined {
    return this.#pending.get(offset)
  }

  /**
   * Adds sectors, which become durable with the next flush of the file, or earlier.
   *
   * @param fileSize bytes of the file that are durable, and needed
   * @throws BlockError errors of the file; then some of the sectors may become durable, or none
   */
  async add(sectors: Sectors, fileSize: number): Promise<void> {
    if (this.#state === 'unsure') await this.close()
    const all = [...sectors].sort(([a], [b]) => a - b)
    for (let done = 0; done < all.length; ) {
      const count = Math.min(sectorsThatFit(this.#capacity - this.#used), MAX_SECTORS, all.length - done)
      if (count === 0) await this.close()
      else await this.#append(all.slice(done, done + count), fileSize)
      done += count
    }
  }

  async #append(sectors: readonly (readonly [number, Uint8Array])[], fileSize: number): Promise<void> {
    const isFirst = this.#state === 'closed'
    if (isFirst) this.#guid = randomGuid()
    const entry = encodeEntry({
      tail: 0,
      sequence: this.#sequence,
      logGuid: this.#guid,
      flushedOffset: fileSize,
      lastOffset: fileSize,
      sectors,
    })
    const announced = this.#file.debugEvent('l2_update')
    if (announced) await announced
    await this.#file.write(this.#place.offset + this.#used, entry)
    if (isFirst) {
      // A log that a header names has a valid entry: the specification takes any other for damaged.
      await this.#file.flush()
      this.#state = 'unsure'
      await this.#headers.update(this.#file, { logGuid: this.#guid })
      this.#state = 'open'
    }
    this.#used += entry.length
    this.#sequence++
    for (const [offset, data] of sectors) this.#pending.set(offset, data)
  }

  /** Brings everything to its place in the file, and empties the log. All of it is durable then. */
  async close(): Promise<void> {
    if (this.#state === 'closed') return
    await this.#file.flush()
    for (const [offset, data] of [...this.#pending].sort(([a], [b]) => a - b)) {
      const announced = this.#file.debugEvent('l1_update')
      if (announced) await announced
      await this.#file.write(offset, data)
    }
    await this.#file.flush()
    this.#pending.clear()
    this.#state = 'unsure'
    await this.#headers.update(this.#file, { logGuid: NO_GUID })
    this.#state = 'closed'
    this.#used = 0
    this.#sequence = 1n
  }
}
