/**
 * Going over a disk by its block status. A driver may look at everything it is asked about, and a chain asks each of
 * its layers: who asked for all that is left at every step would make the walk grow with the square of the disk.
 */
import { type ChainStatus, chainStatus, clipStatus } from './block-status.ts'
import type { BlockNode } from './node.ts'

/** Bytes that are asked about at once: more each time that the answer was one range. */
const FIRST_LOOK = 16 * 1024 * 1024
const LONGEST_LOOK = 1024 * 1024 * 1024

/** How many bytes to ask about, from how long the answers were. */
export class LookAhead {
  #bytes = FIRST_LOOK

  /** Bytes. */
  get bytes(): number {
    return this.#bytes
  }

  /** The answer to a question about `asked` bytes was `answered` bytes long. */
  saw(answered: number, asked: number): void {
    this.#bytes = answered < asked ? FIRST_LOOK : Math.min(2 * this.#bytes, LONGEST_LOOK)
  }
}

/** What a cursor goes over. */
export interface StatusCursorOptions {
  /** The layers above this one are looked at (as in {@link chainStatus}). Default: all. */
  readonly base?: BlockNode | undefined
  /** Runs are never cut; for disks of few layers. Default: off. */
  readonly whole?: boolean | undefined
}

/** The statuses of one disk, as a reader of it sees them. What was answered is not asked again. */
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
