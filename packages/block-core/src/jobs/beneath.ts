/**
 * Finds the ranges that a copy into an overlay may leave to the overlay's backing file: those where the target already
 * reads the same as the source. QEMU skips everything that the source's top layer does not hold, whatever the backing
 * file contains there.
 */
import { alignDown, alignUp } from '../base/bits.ts'
import type { BlockNode } from '../contract/node.ts'
import { backingOf, chainStatus, skipFilters } from '../graph/block-status.ts'
import { givenOptionsOf, opsOf } from '../graph/node-internals.ts'
import type { CopyKind, CopyRange } from './copy-map.ts'

/** Compares two arrays of one length. Node.js has a faster way than a loop. */
export type EqualBytes = (one: Uint8Array, other: Uint8Array) => boolean

/** The portable comparison. */
export const equalInLoop: EqualBytes = (one, other) => {
  for (let at = 0; at < one.length; at++) if (one[at] !== other[at]) return false
  return true
}

/** The layers of the source to copy, and whether the target shows the others. */
export interface Beneath {
  /** The topmost layer that is not copied; undefined: all layers are. */
  readonly base?: BlockNode | undefined
  /** Whether the target is known to read the same as that layer. False: the content has to be compared. */
  readonly isShown?: boolean
}

/** Decides which layers to copy. @param isNew whether the target was just created, and is empty itself */
export function beneathOf(source: BlockNode, target: BlockNode, isNew: boolean): Beneath {
  const below = isNew ? backingOf(target) : undefined
  for (let layer = backingOf(source); below && layer; layer = backingOf(layer))
    if (isSameDisk(layer, below)) return { base: layer, isShown: true }
  return { base: backingOf(source), isShown: false }
}

/** Whether two nodes have the same content because all their files, drivers and roles are the same. */
export function isSameDisk(one: BlockNode | undefined, other: BlockNode | undefined): boolean {
  if (!one || !other) return one === other
  const [a, b] = [skipFilters(one), skipFilters(other)]
  if (a === b) return true
  const { driver } = a
  if (driver !== b.driver || a.children.size !== b.children.size) return false
  if (driver.kind === 'protocol') {
    const { identity } = opsOf(a)
    return identity !== undefined && identity === opsOf(b).identity
  }
  if ([a, b].some((node) => node.file?.kind.shows?.(givenOptionsOf(node)) === 'part')) return false
  return [...a.children].every(([role, edge]) => isSameDisk(edge.node, b.children.get(role)?.node))
}

/** Bytes compared at once, and granularity in bytes at which differing parts are copied. */
const PIECE = 2 ** 20
const GRAIN = 2 ** 16

/** Splits a range that the source's top layer lacks into parts that the target shows, and parts to copy. */
export async function* differences(
  source: BlockNode,
  target: BlockNode,
  range: CopyRange,
  equal: EqualBytes = equalInLoop,
): AsyncGenerator<CopyRange, void, undefined> {
  const end = range.offset + range.bytes
  for (let offset = range.offset; offset < end; ) {
    const [from, to] = [await statusAt(source, offset, end), await statusAt(target, offset, end)]
    // A zero status may end within a sector, at the end of the disk; the rest of the sector is compared.
    const zeroes = from.zero && to.zero ? alignDown(Math.min(from.bytes, to.bytes), GRAIN) : 0
    const bytes = zeroes || Math.min(end - offset, PIECE)
    if (zeroes) yield { offset, bytes, kind: 'beneath' }
    else yield* compare(source, target, offset, bytes, equal)
    offset += bytes
  }
}

async function statusAt(
  node: BlockNode,
  offset: number,
  end: number,
): Promise<{ readonly zero: boolean; readonly bytes: number }> {
  if (offset >= node.size) return { zero: true, bytes: end - offset }
  // If the status is unknown, the range is read, and reading reports the error.
  return chainStatus(node, offset, end - offset).catch(() => ({ zero: false, bytes: 0 }))
}

async function* compare(
  source: BlockNode,
  target: BlockNode,
  offset: number,
  bytes: number,
  equal: EqualBytes,
): AsyncGenerator<CopyRange, void, undefined> {
  // If the source cannot be read, the copy will report that.
  const theirs = await contentAt(source, offset, bytes).catch(() => undefined)
  const shown = theirs && (await contentAt(target, offset, bytes))
  const kindAt = (start: number, stop: number): CopyKind => {
    if (!theirs || !shown) return 'data'
    return equal(theirs.subarray(start, stop), shown.subarray(start, stop)) ? 'beneath' : 'data'
  }
  let last: { start: number; stop: number; kind: CopyKind } | undefined
  for (let start = 0; start < bytes; ) {
    const stop = Math.min(alignUp(offset + start + 1, GRAIN) - offset, bytes)
    const kind = kindAt(start, stop)
    if (last && last.kind !== kind) {
      yield { offset: offset + last.start, bytes: last.stop - last.start, kind: last.kind }
      last = undefined
    }
    last = { start: last?.start ?? start, stop, kind }
    start = stop
  }
  if (last) yield { offset: offset + last.start, bytes: last.stop - last.start, kind: last.kind }
}

/** Reads a range; beyond the end a disk reads as zeroes. */
async function contentAt(node: BlockNode, offset: number, bytes: number): Promise<Uint8Array> {
  const content = new Uint8Array(bytes)
  const readable = Math.min(bytes, node.size - offset)
  if (readable > 0) await node.read(offset, content.subarray(0, readable))
  return content
}
