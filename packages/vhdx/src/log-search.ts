/**
 * Finds what a log has to say after a crash: its active sequence (MS-VHDX, section 2.3.2). A sequence is entries one
 * behind the other, whose numbers follow on each other; its last entry says where the first is that still counts. Of
 * several, the one with the highest number is active. What is torn ends a sequence.
 */
import { BlockError } from '@vmblock/block-core/driver'
import type { Guid } from './format/guid.ts'
import {
  decodeEntryChanges,
  decodeEntryHead,
  ENTRY_HEAD_BYTES,
  type EntryHead,
  LOG_SECTOR,
  type LoggedChange,
} from './format/log-entry.ts'
import type { Region } from './format/regions.ts'

/** What is read: the file, or the file with a log replayed in memory. */
export interface Source {
  /** Bytes. */
  readonly size: number
  /** Reads zeroes beyond the end. */
  read(offset: number, into: Uint8Array): Promise<void>
}

/** An entry that was found whole. */
export interface FoundEntry extends EntryHead {
  /** Bytes from the start of the log. */
  readonly at: number
}

/** Bytes of the log that are read at a time to look for entries. */
const WINDOW = 2 ** 20
/** Longest entry that is read, in bytes. */
const MAX_ENTRY = 64 * 2 ** 20
/** How often all of the log may be read, beside some MiB, until its entries are found: a hostile log has many that overlap. */
const PATIENCE = 4
const PATIENCE_BYTES = 64 * 2 ** 20

/** The log of a file, read as a ring. */
export class LogReader {
  readonly #file: Source
  readonly #place: Region
  readonly #guid: Guid
  #window = new Uint8Array(0)
  #windowAt = 0
  #patience: number

  /** @param guid that of the current header: no other entry counts */
  constructor(file: Source, place: Region, guid: Guid) {
    this.#file = file
    this.#place = place
    this.#guid = guid
    this.#patience = PATIENCE * place.length + PATIENCE_BYTES
  }

  /**
   * The entries that have to be replayed, in order; none if the log is empty.
   *
   * @throws BlockError EINVAL for a log that was made to take forever; errors of the file
   */
  async activeSequence(): Promise<FoundEntry[]> {
    const { length } = this.#place
    let active: FoundEntry[] = []
    for (let at = 0; at < length; ) {
      const sequence = await this.#sequenceAt(at)
      const head = sequence.at(-1)
      if (!head) {
        at += LOG_SECTOR
        continue
      }
      const first = sequence.findIndex((entry) => entry.at === head.tail)
      if (first >= 0 && head.sequence > (active.at(-1)?.sequence ?? 0n)) active = sequence.slice(first)
      at += sequence.reduce((sum, entry) => sum + entry.length, 0)
    }
    return active
  }

  /** What an entry changes. @throws BlockError EIO if it is not what it was */
  async changesOf(entry: FoundEntry): Promise<LoggedChange[]> {
    const changes = decodeEntryChanges(await this.#ring(entry.at, entry.length), entry)
    if (!changes) throw new BlockError('EIO', 'the VHDX log changed while it was read')
    return changes
  }

  async #sequenceAt(start: number): Promise<FoundEntry[]> {
    const { length } = this.#place
    const sequence: FoundEntry[] = []
    for (let bytes = 0; bytes < length; ) {
      const entry = await this.#entryAt((start + bytes) % length)
      const last = sequence.at(-1)
      if (!entry || (last && entry.sequence !== last.sequence + 1n)) break
      bytes += entry.length
      // One that is longer than what is left would lie over the first.
      if (bytes > length) break
      sequence.push(entry)
    }
    return sequence
  }

  async #entryAt(at: number): Promise<FoundEntry | undefined> {
    const head = decodeEntryHead(await this.#peek(at), this.#guid, this.#place.length)
    if (!head) return undefined
    if (head.length > MAX_ENTRY)
      throw new BlockError('EFBIG', `the VHDX log has an entry of ${head.length} bytes`)
    this.#patience -= head.length
    if (this.#patience < 0) throw new BlockError('EINVAL', 'the VHDX log has too many damaged entries')
    const whole = await this.#ring(at, head.length)
    return decodeEntryChanges(whole, head) && { ...head, at }
  }

  /** The first bytes of the sector at `at`. */
  async #peek(at: number): Promise<Uint8Array> {
    const { offset, length } = this.#place
    if (at < this.#windowAt || at >= this.#windowAt + this.#window.length) {
      this.#window = new Uint8Array(Math.min(WINDOW, length - at))
      this.#windowAt = at
      await this.#file.read(offset + at, this.#window)
    }
    const within = at - this.#windowAt
    return this.#window.subarray(within, within + ENTRY_HEAD_BYTES)
  }

  async #ring(at: number, bytes: number): Promise<Uint8Array> {
    const { offset, length } = this.#place
    const whole = new Uint8Array(bytes)
    const first = Math.min(bytes, length - at)
    await this.#file.read(offset + at, whole.subarray(0, first))
    if (first < bytes) await this.#file.read(offset, whole.subarray(first))
    return whole
  }
}
