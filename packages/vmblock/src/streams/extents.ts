/** What a disk holds where: a walk over its block status, in which neighbours of one kind are one extent. */

import { pause } from '@vmblock/block-core/driver'
import { StatusCursor } from '@vmblock/block-core/late'
import { type AbortSignalLike, type BlockNode, backingOf, type ChainStatus } from '@vmblock/block-core/open'
import type { Range } from './range.ts'
import { untilAborted } from './until-aborted.ts'

/** A range of a disk that is all of one kind. */
export interface Extent {
  /** Where it begins in the disk, in bytes. */
  readonly offset: number
  readonly bytes: number
  /**
   * `data`: it may hold anything. `zero`: it is known to read as zeroes. `hole`: no layer holds it, so it reads as
   * zeroes, and takes no room.
   */
  readonly kind: 'data' | 'zero' | 'hole'
  /** Which layer holds it: 0 is the image itself, 1 its backing file, and so on. Absent for a hole. */
  readonly layer?: number
}

/** @throws what the drivers throw; the reason of the signal */
export async function* walkExtents(
  node: BlockNode,
  { start, end }: Range,
  signal: AbortSignalLike | undefined,
): AsyncGenerator<Extent, void, undefined> {
  const cursor = new StatusCursor(node)
  let last: Extent | undefined
  // A disk in use may shrink meanwhile.
  for (let offset = start; offset < Math.min(end, node.size); ) {
    const turning = pause()
    if (turning) await turning
    signal?.throwIfAborted()
    const status = await untilAborted(cursor.at(offset, Math.min(end, node.size) - offset), signal)
    if (status.bytes === 0) break
    const next = extentOf(node, offset, status)
    if (last && last.kind === next.kind && last.layer === next.layer)
      last = { ...last, bytes: last.bytes + next.bytes }
    else {
      if (last) yield last
      last = next
    }
    offset += status.bytes
  }
  signal?.throwIfAborted()
  if (last) yield last
}

function extentOf(top: BlockNode, offset: number, status: ChainStatus): Extent {
  const { bytes, allocated, zero, depth } = status
  if (zero && (!allocated || endsBefore(top, depth, offset))) return { offset, bytes, kind: 'hole' }
  return { offset, bytes, kind: zero ? 'zero' : 'data', layer: depth }
}

/** Whether a backing file is shorter than the disk: what lies behind its end counts as its zeroes, which nothing holds. */
function endsBefore(top: BlockNode, depth: number, offset: number): boolean {
  let layer: BlockNode | undefined = top
  for (let above = 0; above < depth; above++) layer = layer && backingOf(layer)
  return layer !== undefined && offset >= layer.size
}
