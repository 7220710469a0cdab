/**
 * Walks over a disk by its block status. A driver may examine the whole range of a query, and a chain queries
 * each of its layers: queries for all of the rest, at every step, would make the walk quadratic in the size
 * of the disk.
 */

import type { BlockNode } from '../contract/node.ts'
import { type ChainStatus, chainStatus, clipStatus } from '../graph/block-status.ts'

/** Bytes per query: doubled each time that the answer covers all of it. */
const FIRST_LOOK = 16 * 1024 * 1024
const LONGEST_LOOK = 1024 * 1024 * 1024

/** Adapts the length of the next query to the length of the last answers. */
export class LookAhead {
  #bytes = FIRST_LOOK

  /** Bytes. */
  get bytes(): number {
    return this.#bytes
  }

  /** Notes that the answer to a query for `asked` bytes covered `answered` bytes. */
  saw(answered: number, asked: number): void {
    this.#bytes = answered < asked ? FIRST_LOOK : Math.min(2 * this.#bytes, LONGEST_LOOK)
  }
}

/** What a cursor walks over. */
export interface StatusCursorOptions {
  /** Only the layers above this one are queried (as in `chainStatus`). Default: all. */
  readonly base?: BlockNode | undefined
  /** Never cut runs; for disks with few layers. Default: off. */
  readonly whole?: boolean | undefined
}

/** The block status of one disk, as its reader sees it. The last answer is not queried again. */
export class StatusCursor {
  readonly #node: BlockNode
  readonly #base: BlockNode | undefined
  readonly #whole: boolean
  readonly #look = new LookAhead()
  #start = 0
  #last: ChainStatus | undefined

  constructor(node: BlockNode, { base, whole = false }: StatusCursorOptions = {}) {
    this.#node = node
    this.#base = base
    this.#whole = whole
  }

  /** The status at `offset`, of at most `bytes` bytes. @throws what the driver throws */
  async at(offset: number, bytes: number): Promise<ChainStatus> {
    const last = this.#last
    const skipped = offset - this.#start
    if (last && skipped >= 0 && skipped < last.bytes)
      return { ...clipStatus(last, this.#start, offset, bytes), depth: last.depth }
    const asked = this.#whole ? bytes : Math.min(bytes, this.#look.bytes)
    const status = await chainStatus(this.#node, offset, asked, this.#base)
    this.#look.saw(status.bytes, asked)
    this.#start = offset
    this.#last = status
    return status
  }
}
