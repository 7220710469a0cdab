/** The `memory` protocol: a sparse disk in memory, for tests, browsers and scratch images. */
import { type Bytes, bytesOf, requireFlag, requireOptions, requireText } from '../base/arguments.ts'
import { isZero } from '../base/bits.ts'
import { BlockError } from '../base/errors.ts'
import { IndexSet } from '../base/index-set.ts'
import { defineDriver } from '../contract/driver.ts'
import type { BlockNode, BlockStatus } from '../contract/node.ts'
import { PLAIN_CONFIG } from '../contract/node-config.ts'
import type { NodeOps } from '../contract/node-ops.ts'
import type { TruncateOptions } from '../contract/requests.ts'
import { GraphNode } from '../graph/node.ts'
import { size } from '../text/options.ts'

/** Bytes in a page, the unit in which memory is allocated and released. */
export const MEMORY_PAGE = 65536

const DONE = Promise.resolve()

/** A sparse array of bytes. Ranges without a page read as zeroes, and so does everything beyond the end. */
class MemoryDisk {
  readonly #pages = new Map<number, Uint8Array>()
  /** Indexes of the pages. */
  readonly #there = new IndexSet()
  #size: number

  constructor(bytes: number) {
    this.#size = bytes
  }

  get size(): number {
    return this.#size
  }
  /** Bytes of memory in use. */
  get allocated(): number {
    return this.#pages.size * MEMORY_PAGE
  }

  read(offset: number, into: Uint8Array): void {
    for (let done = 0; done < into.length; ) {
      const within = (offset + done) % MEMORY_PAGE
      const length = Math.min(MEMORY_PAGE - within, into.length - done)
      const page = this.#pages.get((offset + done - within) / MEMORY_PAGE)
      if (page) into.set(page.subarray(within, within + length), done)
      else into.fill(0, done, done + length)
      done += length
    }
  }

  write(offset: number, from: Uint8Array): void {
    for (let done = 0; done < from.length; ) {
      const within = (offset + done) % MEMORY_PAGE
      const length = Math.min(MEMORY_PAGE - within, from.length - done)
      const piece = length === from.length ? from : from.subarray(done, done + length)
      this.#writeInPage((offset + done - within) / MEMORY_PAGE, within, piece)
      done += length
    }
    this.#size = Math.max(this.#size, offset + from.length)
  }

  #writeInPage(index: number, within: number, piece: Uint8Array): void {
    const page = this.#pages.get(index)
    if (page) {
      if (piece.length === MEMORY_PAGE && isZero(piece)) this.#release(index)
      else page.set(piece, within)
      return
    }
    if (isZero(piece)) return
    // Always a copy: the caller may reuse its buffer after the write.
    const fresh = new Uint8Array(MEMORY_PAGE)
    fresh.set(piece, within)
    this.#pages.set(index, fresh)
    this.#there.add(index)
  }

  #release(index: number): void {
    if (this.#pages.delete(index)) this.#there.delete(index)
  }

  /** Makes a range read as zeroes: whole pages are released, the ends are cleared. Does not change the size. */
  clear(offset: number, bytes: number): void {
    const end = offset + bytes
    const last = Math.floor(end / MEMORY_PAGE)
    const first = Math.ceil(offset / MEMORY_PAGE)
    if (first > last) {
      this.#pages.get(last)?.fill(0, offset % MEMORY_PAGE, end % MEMORY_PAGE)
      return
    }
    if (offset % MEMORY_PAGE !== 0) this.#pages.get(first - 1)?.fill(0, offset % MEMORY_PAGE)
    if (end % MEMORY_PAGE !== 0) this.#pages.get(last)?.fill(0, 0, end % MEMORY_PAGE)
    for (let at = this.#there.next(first, last); at < last; at = this.#there.next(at + 1, last))
      this.#release(at)
  }

  writeZeroes(offset: number, bytes: number): void {
    this.clear(offset, bytes)
    this.#size = Math.max(this.#size, offset + bytes)
  }

  truncate(bytes: number): void {
    // The data that is cut off must not reappear when the disk grows again.
    if (bytes < this.#size) this.clear(bytes, this.#size - bytes)
    this.#size = bytes
  }

  status(offset: number, bytes: number): BlockStatus {
    const end = offset + bytes
    const first = Math.floor(offset / MEMORY_PAGE)
    if (!this.#pages.has(first)) {
      const next = this.#there.next(first + 1, Math.ceil(end / MEMORY_PAGE))
      const until = Math.min(next * MEMORY_PAGE, end)
      return { bytes: until - offset, allocated: true, data: false, zero: true }
    }
    let index = first + 1
    while (index * MEMORY_PAGE < end && this.#pages.has(index)) index++
    return { bytes: Math.min(index * MEMORY_PAGE, end) - offset, allocated: true, data: true, zero: false }
  }
}

/** The operations of a node on a disk. */
function operationsOf(disk: MemoryDisk): NodeOps {
  return {
    growable: true,
    // Pages are released whenever possible, requested or not, and zeroes are never written as data.
    zeroFlags: new Set(['mayUnmap', 'noFallback']),
    size: () => disk.size,
    read(offset, into) {
      disk.read(offset, into)
      return DONE
    },
    write(offset, from) {
      disk.write(offset, from)
      return DONE
    },
    writeZeroes(offset, bytes) {
      disk.writeZeroes(offset, bytes)
      return DONE
    },
    discard(offset, bytes) {
      disk.clear(offset, bytes)
      return DONE
    },
    blockStatus: (offset, bytes) => Promise.resolve(disk.status(offset, bytes)),
    async truncate(bytes, { preallocation = 'off' }: TruncateOptions) {
      if (preallocation !== 'off')
        throw new BlockError('ENOTSUP', `Unsupported preallocation mode '${preallocation}'`)
      disk.truncate(bytes)
    },
    flush: () => DONE,
    info: () => Promise.resolve({ actualSize: disk.allocated }),
  }
}

/**
 * A growable disk in memory. Only pages with nonzero data take memory, so any size is possible. The content
 * is lost when the node is closed; a node that was opened before its parents is not closed with them, and so
 * simulates a device that outlives their crash.
 */
export const memory = defineDriver({
  name: 'memory',
  kind: 'protocol',
  options: { size: size('Size of the disk in bytes', 0) },
  open: ({ options }) => Promise.resolve(operationsOf(new MemoryDisk(options.size))),
})

/** How {@link openMemory} makes its node. */
export interface OpenMemoryOptions {
  /** Default: `memory`. */
  readonly name?: string
  readonly readOnly?: boolean
}

/** An open memory node that holds a copy of `bytes`. Pages of zeroes are not stored. @throws BlockError EINVAL */
export function openMemory(bytes: Bytes, options: OpenMemoryOptions = {}): BlockNode {
  const content = bytesOf(bytes, 'bytes')
  requireOptions(options, 'options', { name: requireText, readOnly: requireFlag })
  const disk = new MemoryDisk(0)
  disk.write(0, content)
  return new GraphNode({
    name: options.name ?? 'memory',
    driver: memory,
    filename: '',
    ops: operationsOf(disk),
    children: new Map(),
    config: { ...PLAIN_CONFIG, readOnly: options.readOnly ?? false },
  })
}
