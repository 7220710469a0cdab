/**
 * A disk in memory whose copies share equal pages: the thousands of disks that a power cut may leave differ
 * from each other in only a few sectors.
 */
import { alignDown } from '../base/bits.ts'
import { BlockError } from '../base/errors.ts'
import type { DebugEvent } from '../contract/debug-events.ts'
import { defineDriver } from '../contract/driver.ts'
import type { BlockNode } from '../contract/node.ts'
import { PLAIN_CONFIG } from '../contract/node-config.ts'
import type { NodeOps } from '../contract/node-ops.ts'
import type { BlockLimits } from '../contract/requests.ts'
import type { LogEntry } from '../drivers/write-log.ts'
import { GraphNode } from '../graph/node.ts'
import { opsOf } from '../graph/node-internals.ts'

/** Bytes in a page, the unit of sharing. */
const PAGE = 4096

/** The content of a page; immutable once it is shared. */
interface Page {
  readonly bytes: Uint8Array
  /** Two hashes of the content, 0 for zeroes; undefined until needed. */
  hash: readonly [number, number] | undefined
}

/** Options of a node on a {@link CrashDisk}. */
export interface CrashDiskNode {
  readonly limits?: Partial<BlockLimits>
  /** Receives the steps that the drivers above announce. */
  readonly onStep?: (event: DebugEvent) => void
}

/** See the head of this file. Unwritten ranges read as zeroes, and so does everything beyond the end. */
export class CrashDisk {
  #pages: (Page | undefined)[] = []
  /** Indexes of the pages that no other disk shares. */
  #own = new Set<number>()
  #size = 0
  /** See {@link fingerprint}; undefined after a change. */
  #fingerprint: number | undefined

  /** Bytes. */
  get size(): number {
    return this.#size
  }

  /** A disk with the same content, independent from now on. */
  fork(): CrashDisk {
    const copy = new CrashDisk()
    copy.#pages = this.#pages.slice()
    copy.#size = this.#size
    copy.#fingerprint = this.#fingerprint
    this.#own.clear()
    return copy
  }

  /** Fills `into` from byte `offset`. */
  read(offset: number, into: Uint8Array): void {
    for (let done = 0; done < into.length; ) {
      const within = (offset + done) % PAGE
      const length = Math.min(PAGE - within, into.length - done)
      const page = this.#pages[(offset + done - within) / PAGE]
      if (page) into.set(page.bytes.subarray(within, within + length), done)
      else into.fill(0, done, done + length)
      done += length
    }
  }

  /** Writes `from` at byte `offset`; the disk grows to hold it. */
  write(offset: number, from: Uint8Array): void {
    for (let done = 0; done < from.length; ) {
      const within = (offset + done) % PAGE
      const length = Math.min(PAGE - within, from.length - done)
      this.#writable((offset + done - within) / PAGE).set(from.subarray(done, done + length), within)
      done += length
    }
    this.#reach(offset + from.length)
  }

  /** Makes a range read as zeroes. Does not change the size. */
  clear(offset: number, bytes: number): void {
    this.#fingerprint = undefined
    const end = Math.min(offset + bytes, this.#pages.length * PAGE)
    for (let at = offset; at < end; ) {
      const within = at % PAGE
      const length = Math.min(PAGE - within, end - at)
      const index = (at - within) / PAGE
      if (length === PAGE) this.#drop(index)
      else if (this.#pages[index]) this.#writable(index).fill(0, within, within + length)
      at += length
    }
  }

  /** Changes the size. Data that is cut off does not reappear when the disk grows again. */
  truncate(size: number): void {
    if (size < this.#size) {
      this.clear(size, this.#size - size)
      this.#pages.length = Math.min(this.#pages.length, Math.ceil(size / PAGE))
    }
    this.#size = size
    this.#fingerprint = undefined
  }

  /** Repeats a request from a log, only in `parts` [from, to) of its range; offsets from its start. */
  apply(entry: LogEntry, parts: Iterable<readonly [from: number, to: number]> = [[0, entry.bytes]]): void {
    if (entry.kind === 'truncate') this.truncate(entry.size)
    if (entry.kind !== 'write' && entry.kind !== 'write-zeroes' && entry.kind !== 'discard') return
    if (entry.kind === 'write' && !entry.data) throw new BlockError('EINVAL', 'the log recorded no data')
    for (const [from, to] of parts) {
      if (entry.kind === 'write') this.write(entry.offset + from, entry.data!.subarray(from, to))
      else this.clear(entry.offset + from, to - from)
      if (entry.kind === 'write-zeroes') this.#reach(entry.offset + to)
    }
  }

  /** A number that is equal for disks of equal content and size, and almost always different for others. */
  fingerprint(): number {
    this.#fingerprint ??= this.#computeFingerprint()
    return this.#fingerprint
  }

  #computeFingerprint(): number {
    let [high, low] = [this.#size, ~this.#size]
    for (let index = 0; index < this.#pages.length; index++) {
      const page = this.#pages[index]
      if (!page) continue
      page.hash ??= hashOf(page.bytes)
      const [a, b] = page.hash
      if (a === 0 && b === 0) continue // same as an absent page
      high = Math.imul(high ^ (a + index), 0x85eb_ca6b) ^ (high >>> 13)
      low = Math.imul(low ^ (b - index), 0xc2b2_ae35) ^ (low >>> 16)
    }
    return joinHashes(high, low)
  }

  /** A writable node on the disk, which is not closed with its parents. */
  node({ limits = {}, onStep }: CrashDiskNode = {}): BlockNode {
    const disk = this
    const ops: NodeOps = {
      limits,
      growable: true,
      size: () => disk.#size,
      read: async (offset, into) => disk.read(offset, into),
      write: async (offset, from) => disk.write(offset, from),
      async writeZeroes(offset, bytes) {
        disk.clear(offset, bytes)
        disk.#reach(offset + bytes)
      },
      discard: async (offset, bytes) => disk.clear(offset, bytes),
      // Preallocated space reads as zeroes, like unallocated space.
      truncate: async (size) => disk.truncate(size),
      flush: async () => {},
      ...(onStep && { debugEvent: onStep }),
    }
    const init = { name: 'disk', driver: crashDisk, filename: '', config: PLAIN_CONFIG }
    return new GraphNode({ ...init, ops, children: new Map() })
  }

  #reach(end: number): void {
    if (end > this.#size) this.#size = end
    this.#fingerprint = undefined
  }

  #writable(index: number): Uint8Array {
    const page = this.#pages[index]
    if (page && this.#own.has(index)) {
      page.hash = undefined
      return page.bytes
    }
    const fresh: Page = { bytes: page ? page.bytes.slice() : new Uint8Array(PAGE), hash: undefined }
    this.#pages[index] = fresh
    this.#own.add(index)
    return fresh.bytes
  }

  #drop(index: number): void {
    if (index < this.#pages.length) this.#pages[index] = undefined
    this.#own.delete(index)
  }
}

/** The driver of nodes on a {@link CrashDisk}; opening it gives an empty disk. */
const crashDisk = defineDriver({
  name: 'crash-disk',
  kind: 'protocol',
  open: () => Promise.resolve(opsOf(new CrashDisk().node())),
})

/** Two 32-bit hashes as one number below 2^53. */
const joinHashes = (high: number, low: number): number => (high >>> 0) * 2 ** 21 + (low >>> 11)

/** Joins several fingerprints, in order, into one. */
export function joinFingerprints(fingerprints: Iterable<number>): number {
  let [high, low] = [0x9e37_79b9, 0x7f4a_7c15]
  for (const fingerprint of fingerprints) {
    const lower = alignDown(fingerprint, 2 ** 21)
    high = Math.imul(high ^ (lower / 2 ** 21), 0x85eb_ca6b) ^ (high >>> 13)
    low = Math.imul(low ^ (fingerprint - lower) ^ high, 0xc2b2_ae35) ^ (low >>> 16)
  }
  return joinHashes(high, low)
}

function hashOf(bytes: Uint8Array): readonly [number, number] {
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4)
  let [a, b, any] = [0x811c_9dc5, 0x1234_5677, 0]
  for (let i = 0; i < words.length; i++) {
    const word = words[i]!
    any |= word
    a = Math.imul(a ^ word, 0x0100_0193) ^ (a >>> 15)
    b = Math.imul(b + word, 0x2545_f491) ^ (b >>> 13)
  }
  return any === 0 ? [0, 0] : [a, b]
}
