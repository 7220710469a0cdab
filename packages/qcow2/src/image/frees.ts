/**
 * Clusters that nothing refers to any more, but that are not free yet.
 *
 * A cluster may be reused only when the table entry that no longer points at it is durable: before that, a
 * crash would bring back the old pointer, and the new owner's data would be read through it. (QEMU orders the
 * refcount after the table but reuses the cluster at once.) So a free is only noted; a flush of the image
 * makes it due; and when the requests that ran at that time have ended, the refcount drops. A crash before
 * that leaks the cluster, which every check finds, and loses no data.
 */
import type { RequestEpochs } from './epochs.ts'

/** Why clusters were freed; decides whether they are discarded in the file (`pass-discard-*`). */
export type FreeReason = 'request' | 'snapshot' | 'other'

/** A run of host clusters to be freed. */
export interface Freed {
  /** Host bytes, cluster aligned (for a compressed cluster: all clusters that it touches). */
  readonly offset: number
  readonly bytes: number
  readonly reason: FreeReason
}

/** The stages between "unlinked" and "free". */
export class PendingFrees {
  readonly #epochs: RequestEpochs
  /** Unlinked, but the table change is not durable yet. */
  #fresh: Freed[] = []
  /** Durably unlinked; requests of that epoch may still access them. */
  #durable: { readonly epoch: number; readonly freed: readonly Freed[] }[] = []
  #bytes = 0
  #freshBytes = 0
  #released = 0

  constructor(epochs: RequestEpochs) {
    this.#epochs = epochs
  }

  /** Notes a run. It is merged with the last one if they are adjacent. */
  add(offset: number, bytes: number, reason: FreeReason): void {
    this.#bytes += bytes
    this.#freshBytes += bytes
    const last = this.#fresh[this.#fresh.length - 1]
    if (last && last.offset + last.bytes === offset && last.reason === reason)
      this.#fresh[this.#fresh.length - 1] = { offset: last.offset, bytes: last.bytes + bytes, reason }
    else this.#fresh.push({ offset, bytes, reason })
  }

  /** Takes the runs that a flush beginning now will make durable. */
  take(): Freed[] {
    const taken = this.#fresh
    this.#fresh = []
    this.#freshBytes = 0
    return taken
  }

  /** After a failed flush: the runs wait for the next one. */
  putBack(freed: readonly Freed[]): void {
    if (freed.length === 0) return
    this.#fresh = [...freed, ...this.#fresh]
    this.#freshBytes += bytesOf(freed)
  }

  /** After a successful flush. */
  becameDurable(freed: readonly Freed[]): void {
    if (freed.length > 0) this.#durable.push({ epoch: this.#epochs.advance(), freed })
  }

  /** Takes the runs whose refcounts may drop now. */
  takeDue(): Freed[] {
    const due: (readonly Freed[])[] = []
    while (this.#durable[0] && this.#epochs.isOver(this.#durable[0].epoch))
      due.push(this.#durable.shift()!.freed)
    const all = due.flat()
    const bytes = bytesOf(all)
    this.#bytes -= bytes
    this.#released += bytes
    return all
  }

  /** Bytes of clusters that wait, at any stage: they take space in the file, and cannot be allocated. */
  get bytes(): number {
    return this.#bytes
  }
  /** Bytes of clusters that wait for a flush. */
  get freshBytes(): number {
    return this.#freshBytes
  }
  /**
   * Bytes that {@link takeDue} has returned so far. If it has grown since a request began, repeating the
   * request may help.
   */
  get released(): number {
    return this.#released
  }
  /** The epoch that must end before everything durably unlinked is due; undefined if nothing waits. */
  get lastEpoch(): number | undefined {
    return this.#durable[this.#durable.length - 1]?.epoch
  }

  /** Whether anything is waiting, at any stage. */
  get isEmpty(): boolean {
    return this.#fresh.length === 0 && this.#durable.length === 0
  }
}

const bytesOf = (freed: readonly Freed[]): number => freed.reduce((sum, { bytes }) => sum + bytes, 0)
