/**
 * Random requests, and their effect on the simplest disk there is: an array of bytes.
 * @module
 */
import type { Random } from '@vmblock/block-core/testing'

/** The data of a write: one byte, or one of the pattern files repeated from its start. */
export type Content = { readonly byte: number } | { readonly file: number }

/** One request; offsets and lengths in bytes. */
export type Operation =
  | { readonly kind: 'write'; readonly offset: number; readonly length: number; readonly content: Content }
  /** Adjacent concurrent writes, each of one byte; `length` is that of each. */
  | {
      readonly kind: 'parallel'
      readonly offset: number
      readonly length: number
      readonly bytes: readonly number[]
    }
  /** Discards whole clusters, and writes them compressed. */
  | {
      readonly kind: 'compressed'
      readonly offset: number
      readonly length: number
      readonly content: Content
    }
  | { readonly kind: 'zero'; readonly offset: number; readonly length: number; readonly unmap: boolean }
  | { readonly kind: 'discard' | 'read'; readonly offset: number; readonly length: number }
  | { readonly kind: 'truncate'; readonly size: number; readonly preallocation: Preallocation }
  | { readonly kind: 'flush' }
  /** Reopens read-only, reads once, and reopens writable. */
  | { readonly kind: 'reopen'; readonly offset: number; readonly length: number }

/** How a grown area is allocated. */
export type Preallocation = 'off' | 'metadata' | 'falloc' | 'full'

/** What to try on a disk. */
export interface Wishes {
  /** Bytes of a cluster or subcluster: many offsets are multiples of it. */
  readonly grain: number
  /** Largest size for resizing; undefined: no resizing. */
  readonly resizeUpTo?: number
  /** Whether the format cannot shrink. */
  readonly growsOnly?: boolean
  /** Bytes of a cluster that can be written compressed; absent: none can. */
  readonly compresses?: number
  /** No zero writes. */
  readonly noZeroes?: boolean
  /** No reopenings. */
  readonly noReopens?: boolean
  /** Preallocation modes for growing. Default: only `off`. */
  readonly preallocations?: readonly Preallocation[]
}

const SECTOR = 512

/** Returns `count` operations on a disk of `size` bytes. */
export function randomOperations(
  random: Random,
  count: number,
  size: number,
  files: number,
  wishes: Wishes,
): Operation[] {
  const operations: Operation[] = []
  let current = size
  for (let index = 0; index < count; index++) {
    const operation = randomOperation(random, current, files, wishes)
    if (operation.kind === 'truncate') current = operation.size
    operations.push(operation)
  }
  return operations
}

function randomOperation(random: Random, size: number, files: number, wishes: Wishes): Operation {
  const { grain, resizeUpTo, preallocations = ['off'] } = wishes
  const offset = Math.min(randomOffset(random, size, grain), size - 1)
  const length = Math.min(randomLength(random, grain), size - offset)
  const { compresses } = wishes
  if (compresses !== undefined && random.chance(0.25)) {
    const start = offset - (offset % compresses)
    const whole = Math.min(compresses * random.int(1, 4), size - start)
    return { kind: 'compressed', offset: start, length: whole, content: randomContent(random, files) }
  }
  const dice = random.int(0, 100)
  if (dice < 40) return { kind: 'write', offset, length, content: randomContent(random, files) }
  if (dice < 47) {
    const bytes = Array.from({ length: random.int(2, 6) }, () => random.int(1, 256))
    const each = Math.floor(length / bytes.length)
    if (each > 0) return { kind: 'parallel', offset, length: each, bytes }
  }
  if (dice < 62 && !wishes.noZeroes) return { kind: 'zero', offset, length, unmap: random.chance(0.5) }
  if (dice < 75) return { kind: 'discard', offset, length }
  if (dice < 85) return { kind: 'read', offset, length }
  if (dice < 89) return { kind: 'flush' }
  if (dice < 91 && !wishes.noReopens) return { kind: 'reopen', offset, length }
  if (dice < 95 && resizeUpTo !== undefined) {
    const wanted = Math.round(randomOffset(random, resizeUpTo, grain) / SECTOR) * SECTOR
    // Mostly a third of the largest size or more: a disk that shrank to nothing leaves nothing to try.
    const least = Math.floor(resizeUpTo / 3 / SECTOR) * SECTOR
    const next = wishes.growsOnly
      ? Math.max(wanted, size)
      : random.chance(0.1)
        ? Math.max(wanted, SECTOR)
        : Math.max(wanted, least)
    return {
      kind: 'truncate',
      size: next,
      preallocation: next > size && random.chance(0.3) ? random.pick(preallocations) : 'off',
    }
  }
  return { kind: 'write', offset, length: Math.min(length, grain), content: randomContent(random, files) }
}

const randomContent = (random: Random, files: number): Content =>
  random.chance(0.1)
    ? { byte: 0 }
    : random.chance(0.4)
      ? { byte: random.int(1, 256) }
      : { file: random.int(0, files) }

/** Often a multiple of the grain or an offset next to it, sometimes any offset. */
function randomOffset(random: Random, size: number, grain: number): number {
  const anywhere = random.int(0, size + 1)
  if (random.chance(0.3)) return anywhere
  const near = anywhere - (anywhere % grain) + random.pick([0, 0, 0, 1, -1, SECTOR, grain / 2])
  return Math.min(Math.max(near, 0), size)
}

/** Whole grains, a few sectors, odd lengths; seldom very long. */
function randomLength(random: Random, grain: number): number {
  const dice = random.int(0, 10)
  if (dice < 3) return grain * random.int(1, 4)
  if (dice < 6) return SECTOR * random.int(1, 17)
  if (dice < 9) return random.int(1, Math.min(2 * grain, 65536) + 1)
  return random.int(1, 5 * grain)
}

/** The disk as it should be. */
export class Model {
  bytes: Uint8Array
  readonly #files: readonly Uint8Array[]
  readonly discard: DiscardRule

  constructor(bytes: Uint8Array, files: readonly Uint8Array[], discard: DiscardRule) {
    this.bytes = bytes
    this.#files = files
    this.discard = discard
  }

  /** Returns the data of a write. */
  dataOf(length: number, content: Content): Uint8Array {
    const data = new Uint8Array(length)
    if ('byte' in content) return data.fill(content.byte)
    const pattern = this.#files[content.file]!
    for (let at = 0; at < length; at += pattern.length)
      data.set(pattern.subarray(0, Math.min(pattern.length, length - at)), at)
    return data
  }

  /** Returns the byte that fills a range, if it is only one. */
  uniform(offset: number, length: number): number | undefined {
    const range = this.bytes.subarray(offset, offset + length)
    const [first] = range
    return range.every((byte) => byte === first) ? first : undefined
  }

  apply(operation: Operation): void {
    switch (operation.kind) {
      case 'write':
      case 'compressed':
        this.bytes.set(this.dataOf(operation.length, operation.content), operation.offset)
        return
      case 'parallel':
        for (const [index, byte] of operation.bytes.entries()) {
          const start = operation.offset + index * operation.length
          this.bytes.fill(byte, start, start + operation.length)
        }
        return
      case 'zero':
        this.bytes.fill(0, operation.offset, operation.offset + operation.length)
        return
      case 'discard':
        this.#applyDiscard(operation.offset, operation.length)
        return
      case 'truncate': {
        const before = this.bytes
        this.bytes = new Uint8Array(operation.size)
        this.bytes.set(before.subarray(0, Math.min(operation.size, before.length)))
      }
    }
  }

  /** Zeroes whole clusters; a cluster that the end of the disk cuts off counts as whole. */
  #applyDiscard(offset: number, length: number): void {
    if (this.discard === 'ignored' || this.discard === 'either') return
    const { cluster } = this.discard
    const end = offset + length
    const start = Math.ceil(offset / cluster) * cluster
    const stop = end === this.bytes.length ? end : Math.floor(end / cluster) * cluster
    if (stop > start) this.bytes.fill(0, start, stop)
  }
}

/**
 * The effect of a discard: zeroes for whole clusters, nothing, or `either`, byte by byte, depending on the
 * host's file system.
 */
export type DiscardRule = { readonly cluster: number } | 'ignored' | 'either'
