/** What a copy has to move: the ranges of its sources, which are joined end to end. */
import {
  type Check,
  expects,
  requireCallback,
  requireCount,
  requireFlag,
  requireOptions,
} from '../base/arguments.ts'
import { alignDown, alignUp, SECTOR } from '../base/bits.ts'
import { failureOf } from '../base/errno.ts'
import type { BlockNode } from '../contract/node.ts'
import { backingOf } from '../graph/block-status.ts'
import { requireNode } from '../graph/node-arguments.ts'
import { StatusCursor } from './status-cursor.ts'

/** A disk to be copied, or a part of its layers. */
export interface CopySource {
  readonly node: BlockNode
  /** The first byte that is copied. Default: 0. */
  readonly from?: number | undefined
  /** Bytes in the copy; beyond the end of the disk they read as zeroes. Default: up to that end. */
  readonly bytes?: number | undefined
  /** Ranges that only this layer, or one below it, holds are not examined: they are `beneath`. */
  readonly base?: BlockNode | undefined
}

/**
 * What to do with a range. `beneath`: none of the copied layers holds it, so the target shows its own backing
 * file there. `zero`: it reads as zeroes.
 */
export type CopyKind = 'data' | 'zero' | 'beneath'

/** A range of the copy: offsets and lengths in bytes. */
export interface CopyRange {
  readonly offset: number
  readonly bytes: number
  readonly kind: CopyKind
  /** Where data can be read directly: a protocol's node, and the offset there. */
  readonly host?: CopyExtent | undefined
}

/** Where data begins: a node, and the offset there in bytes. */
export interface CopyExtent {
  readonly node: BlockNode
  readonly offset: number
}

/** How ranges are found. */
export interface CopyMapOptions {
  readonly sources: readonly CopySource[]
  /** Ranges that no layer holds are `beneath`, not data or zero. */
  readonly hasBeneath?: boolean | undefined
  /** Size in bytes of the target's backing file: from there on, zeroes need not be written over it. */
  readonly beneathBytes?: number | undefined
  /**
   * Examines a range that is `beneath`, if the target's own backing file may show different content there.
   *
   * @returns the same range in parts, in order, each with its kind
   */
  readonly refine?: ((range: CopyRange) => AsyncIterable<CopyRange>) | undefined
  /**
   * Called if the status of a sector cannot be determined, with the sector's offset in its source; the sector
   * then counts as data. Without this callback, the error is thrown.
   */
  readonly onStatusError?: ((offset: number, error: unknown) => void) | undefined
}

const MAP: Readonly<Record<string, Check>> = {
  sources: expects('a list of { node, bytes, base }', Array.isArray),
  hasBeneath: requireFlag,
  beneathBytes: requireCount,
  refine: requireCallback,
  onStatusError: requireCallback,
}

/** @throws BlockError EINVAL */
function requireMap(options: CopyMapOptions): void {
  requireOptions(options, 'options', MAP)
  MAP['sources']!(options.sources, 'sources')
  for (const source of options.sources) {
    requireOptions(source, 'sources', {
      node: requireNode,
      from: requireCount,
      bytes: requireCount,
      base: requireNode,
    })
    requireNode(source.node, 'node')
  }
}

/** A source and where it begins in the copy. */
interface Part extends CopySource {
  readonly from: number
  readonly start: number
  readonly end: number
  /** Bytes: ranges end at multiples of this, counted from the start, so that reads are not cut. */
  readonly alignment: number
}

/** Most ranges to remember; on more fragmented disks the status is queried a second time. */
const REMEMBERED = 65_536

/** The ranges of a copy. */
export class CopyMap {
  /** Bytes. */
  readonly size: number
  readonly #parts: readonly Part[]
  readonly #options: CopyMapOptions
  #remembered: readonly CopyRange[] | undefined
  #lastPart = 0

  private constructor(parts: readonly Part[], options: CopyMapOptions) {
    this.#parts = parts
    this.#options = options
    this.size = parts.at(-1)?.end ?? 0
  }

  /** Makes a map, after querying the sources for their sizes and cluster sizes. */
  static async of(options: CopyMapOptions): Promise<CopyMap> {
    requireMap(options)
    const parts: Part[] = []
    let start = 0
    for (const source of options.sources) {
      const { node, from = 0, bytes = Math.max(node.size - from, 0) } = source
      const { clusterSize = 1 } = await node.info()
      // What begins within a sector ends within one, wherever the source is cut.
      const isCut = from % SECTOR !== 0
      const alignment = isCut ? 1 : Math.max(node.limits.requestAlignment, clusterSize)
      parts.push({ ...source, from, start, end: start + bytes, alignment })
      start += bytes
    }
    return new CopyMap(parts, options)
  }

  /** Bytes in ranges of the given kinds. Walks all sources, and remembers the ranges for {@link ranges}. */
  async count(kinds: ReadonlySet<CopyKind>): Promise<number> {
    let bytes = 0
    const seen: CopyRange[] = []
    for await (const range of this.#look()) {
      if (kinds.has(range.kind)) bytes += range.bytes
      if (seen.length <= REMEMBERED) seen.push(range)
    }
    if (seen.length <= REMEMBERED) this.#remembered = seen
    return bytes
  }

  /**
   * All ranges, in order, without gaps.
   *
   * @throws BlockError `error while reading block status at offset N: ...`
   */
  async *ranges(): AsyncGenerator<CopyRange, void, undefined> {
    if (this.#remembered) yield* this.#remembered
    else yield* this.#look()
  }

  /** Fills `into` from an offset of the copy, in bytes, which may span several sources. @throws what reading threw */
  async read(offset: number, into: Uint8Array): Promise<void> {
    for (let done = 0; done < into.length; ) {
      const at = offset + done
      const { node, from, start, end } = this.#partAt(at)
      const piece = into.subarray(done, done + Math.min(into.length - done, end - at))
      const readable = Math.min(piece.length, Math.max(start + node.size - from - at, 0))
      if (readable > 0) await node.read(at - start + from, piece.subarray(0, readable))
      piece.fill(0, readable)
      done += piece.length
    }
  }

  /** Copies read at or near their last offset, so the search starts at the part of the previous call. */
  #partAt(offset: number): Part {
    let index = this.#lastPart
    while (offset < this.#parts[index]!.start) index--
    while (offset >= this.#parts[index]!.end) index++
    this.#lastPart = index
    return this.#parts[index]!
  }

  /** The offset within its source, in bytes, for messages. */
  offsetInSource(offset: number): number {
    const { start, from } = this.#partAt(offset)
    return offset - start + from
  }

  async *#look(): AsyncGenerator<CopyRange, void, undefined> {
    for (const part of this.#parts) {
      const whole = backingOf(part.node) === undefined
      const cursor = new StatusCursor(part.node, { base: part.base, whole })
      for (let offset = part.start; offset < part.end; ) {
        const range = await this.#rangeAt(part, cursor, offset)
        if (range.kind === 'beneath' && this.#options.refine) yield* this.#options.refine(range)
        else yield range
        offset += range.bytes
      }
    }
  }

  async #rangeAt(part: Part, cursor: StatusCursor, offset: number): Promise<CopyRange> {
    const { beneathBytes } = this.#options
    const isBeyond = beneathBytes !== undefined && offset >= beneathBytes
    const limit = beneathBytes === undefined || isBeyond ? Number.POSITIVE_INFINITY : beneathBytes - offset
    const status = await this.#status(part, cursor, offset, Math.min(part.end - offset, limit))
    let { bytes } = status
    // If a range ended within a cluster, the rest of that cluster would need a read of its own.
    const tail = (offset - part.start + part.from + bytes) % part.alignment
    if (bytes > tail) bytes -= tail
    const kind = status.kind === 'zero' && isBeyond ? 'beneath' : status.kind
    return { offset, bytes, kind, host: status.host }
  }

  async #status(
    { node, start, from }: Part,
    cursor: StatusCursor,
    offset: number,
    wanted: number,
  ): Promise<Omit<CopyRange, 'offset'>> {
    const { hasBeneath, onStatusError } = this.#options
    const at = offset - start + from
    if (at >= node.size) return { bytes: wanted, kind: 'zero' }
    for (let bytes = wanted; ; ) {
      try {
        const status = await cursor.at(at, bytes)
        const isBeneath = hasBeneath && !status.data && !status.allocated
        const found = status.zero ? 'zero' : isBeneath ? 'beneath' : 'data'
        // A copy that begins within a sector of its source has other sectors, of which one may be mixed.
        const end = from % SECTOR === 0 || at + status.bytes >= node.size ? alignUp : alignDown
        const whole = end(status.bytes, SECTOR)
        const kind = whole === 0 ? 'data' : found
        const place = kind === 'data' && whole > 0 ? status.host : undefined
        const host = place && { node: place.child.node, offset: place.offset }
        return { bytes: Math.min(whole || SECTOR, wanted), kind, host }
      } catch (error) {
        if (!onStatusError) throw failureOf(`error while reading block status at offset ${at}`, error, at)
        if (bytes > SECTOR) bytes = alignUp(Math.ceil(bytes / 4), SECTOR)
        else {
          onStatusError(at, error)
          return { bytes, kind: 'data' }
        }
      }
    }
  }
}
