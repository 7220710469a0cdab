/**
 * What shows through an image, before and after a rebase: two backing chains side by side, which often share their lower
 * layers. What only those hold is the same in both, and needs no reading.
 */
import type { BlockNode } from '../contract/node.ts'
import { backingOf } from '../graph/block-status.ts'
import { isSameDisk } from './beneath.ts'
import { StatusCursor } from './status-cursor.ts'

/** What a chain shows: `shared`: what the layers show that both chains have. */
export type BelowKind = 'zero' | 'data' | 'shared'

/** A range of one kind. */
export interface BelowRange {
  readonly bytes: number
  readonly kind: BelowKind
}

/** One of the chains. Offsets and lengths in bytes. */
export class LayersBelow {
  readonly #top: BlockNode | undefined
  readonly #shared: BlockNode | undefined
  readonly #cursor: StatusCursor | undefined

  /** @param shared the topmost layer of this chain that the other one has, too */
  constructor(top: BlockNode | undefined, shared: BlockNode | undefined) {
    this.#top = top
    this.#shared = shared
    this.#cursor = top && new StatusCursor(top, { base: shared })
  }

  /** What shows at `offset`, for at most `bytes` bytes: beyond the end of the chain, zeroes. @throws what the drivers throw */
  async at(offset: number, bytes: number): Promise<BelowRange> {
    const top = this.#top
    if (!top || offset >= top.size) return { bytes, kind: 'zero' }
    const inside = Math.min(bytes, top.size - offset)
    if (top === this.#shared) return { bytes: inside, kind: 'shared' }
    const status = await this.#cursor!.at(offset, inside)
    const kind = status.zero ? 'zero' : this.#shared && !status.allocated ? 'shared' : 'data'
    return { bytes: status.bytes, kind }
  }

  /** Fills `into` with what shows at `offset`. @throws what reading throws */
  async read(offset: number, into: Uint8Array): Promise<void> {
    const readable = Math.min(Math.max((this.#top?.size ?? 0) - offset, 0), into.length)
    if (readable > 0) await this.#top!.read(offset, into.subarray(0, readable))
    into.fill(0, readable)
  }
}

/** Two chains, with the layers that they share left to the topmost of these. */
export function layersBelow(
  one: BlockNode | undefined,
  other: BlockNode | undefined,
): readonly [LayersBelow, LayersBelow] {
  for (let mine = one; mine; mine = backingOf(mine))
    for (let theirs = other; theirs; theirs = backingOf(theirs))
      if (isSameDisk(mine, theirs)) return [new LayersBelow(one, mine), new LayersBelow(other, theirs)]
  return [new LayersBelow(one, undefined), new LayersBelow(other, undefined)]
}
