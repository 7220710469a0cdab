/** Writing an overlay's content down into a backing file: what `qemu-img commit` does. */
import PQueue from 'p-queue'
import { backingOf, chainStatus, skipFilters } from './block-status.ts'
import { BlockError, isBlockError } from './errors.ts'
import type { BlockNode } from './node.ts'
import { reopenNode } from './reopen.ts'

/** What to commit, and how. */
export interface CommitOptions {
  /** The layer that takes the content; default: the immediate backing file. */
  readonly base?: BlockNode | undefined
  /** Bytes looked at so far, of all bytes of the top. */
  readonly progress?: ((done: number, total: number) => void) | undefined
  /**
   * Whether the top is emptied afterwards; only done when `base` is its immediate backing file. Default true.
   */
  readonly makeEmpty?: boolean | undefined
  /** At most so many bytes per second; default: no limit. */
  readonly rate?: number | undefined
}

/** Bytes in one copy. */
const PIECE = 1024 * 1024
/** Copies in flight. */
const PARALLEL = 8
/** Bytes whose status is asked at once. */
const LOOK_AHEAD = 1024 * 1024 * 1024

/**
 * Copies what the layers above `base` hold into `base`, which is made writable meanwhile and grown when it is
 * smaller than `top`, and then empties `top`, if it can be emptied. Writes to `top` wait meanwhile.
 *
 * @throws BlockError EINVAL when there is no backing file or `base` is not among them; whatever reading,
 *   writing or reopening meets: then `base` has some of the content, which does no harm, and `top` all of it
 */
export async function commitNode(top: BlockNode, options: CommitOptions = {}): Promise<void> {
  const { base, edge } = findBase(top, options.base)
  // What is written while the top is copied would go with it when it is emptied.
  await top.withoutWrites(() => commitInto(top, base, edge, options))
}

async function commitInto(
  top: BlockNode,
  base: BlockNode,
  edge: BlockNode,
  options: CommitOptions,
): Promise<void> {
  const wasReadOnly = base.readOnly
  if (wasReadOnly) await reopenNode(base, { readOnly: false })
  try {
    await growTo(base, top.size)
    await copyDown(top, base, edge, options)
    await base.flush()
  } finally {
    if (wasReadOnly && base.isOpen) await reopenNode(base, { readOnly: true })
  }
  if (options.makeEmpty === false || base !== backing(top)) return
  try {
    await skipFilters(top).makeEmpty()
  } catch (error) {
    // Not every format can; the top then still holds what the base now holds too.
    if (!isBlockError(error, 'ENOTSUP')) throw error
  }
}

/** The next layer below, without the filters on it. */
function backing(node: BlockNode): BlockNode | undefined {
  const below = backingOf(node)
  return below && skipFilters(below)
}

/** A layer of a chain: the node itself, and what stands for it in the chain, which may be a filter on it. */
interface Base {
  readonly base: BlockNode
  readonly edge: BlockNode
}

function findBase(top: BlockNode, wanted: BlockNode | undefined): Base {
  const first = backingOf(top)
  if (!first) throw new BlockError('EINVAL', 'Image does not have a backing file', { node: top.name })
  const base = skipFilters(wanted ?? first)
  for (let edge: BlockNode | undefined = first; edge; edge = backingOf(edge)) {
    if (skipFilters(edge) === base) return { base, edge }
  }
  throw new BlockError(
    'EINVAL',
    `Did not find '${wanted?.filename}' in the backing chain of '${top.filename}'`,
  )
}

async function growTo(base: BlockNode, size: number): Promise<void> {
  if (base.size >= size) return
  // What lies below a base that was too short must not appear where readers of the top saw zeroes.
  const zero = (backing(base)?.size ?? 0) > base.size
  await base.truncate(size, zero ? { zero } : {})
}

async function copyDown(
  top: BlockNode,
  base: BlockNode,
  edge: BlockNode,
  { progress, rate }: CommitOptions,
): Promise<void> {
  const queue = new PQueue({ concurrency: PARALLEL })
  const limiter = rate ? new RateLimit(rate) : undefined
  const total = top.size
  const failures: unknown[] = []
  let done = 0
  const advance = (bytes: number): void => {
    done += bytes
    progress?.(done, total)
  }
  const start = async (bytes: number, work: () => Promise<void>): Promise<void> => {
    await queue.onSizeLessThan(1)
    await limiter?.take(bytes)
    queue
      .add(async () => {
        await work()
        advance(bytes)
      })
      .catch((error: unknown) => failures.push(error))
  }
  progress?.(0, total)
  try {
    for (let at = 0; at < total && failures.length === 0; ) {
      const status = await statusAbove(top, edge, at, Math.min(total - at, LOOK_AHEAD))
      const end = at + status.bytes
      if (status.content === 'none') advance(status.bytes)
      else if (status.content === 'zero') {
        const offset = at
        await start(status.bytes, () => base.writeZeroes(offset, status.bytes, { mayUnmap: true }))
      } else {
        for (let offset = at; offset < end && failures.length === 0; ) {
          // Pieces end at multiples of their size, so that clusters are not cut.
          const bytes = Math.min(end - offset, PIECE - (offset % PIECE))
          await start(bytes, copyPiece(top, base, offset, bytes))
          offset += bytes
        }
      }
      at = end
    }
  } finally {
    await queue.onIdle()
  }
  if (failures.length > 0) throw failures[0]
}

const copyPiece =
  (top: BlockNode, base: BlockNode, offset: number, bytes: number) => async (): Promise<void> => {
    const data = new Uint8Array(bytes)
    await top.read(offset, data)
    await base.write(offset, data)
  }

/** What the layers above `base` hold: nothing, zeroes, or data. */
async function statusAbove(
  top: BlockNode,
  base: BlockNode,
  offset: number,
  bytes: number,
): Promise<{ readonly bytes: number; readonly content: 'none' | 'zero' | 'data' }> {
  const status = await chainStatus(top, offset, bytes, base)
  if (!status.allocated) return { bytes: status.bytes, content: 'none' }
  return { bytes: status.bytes, content: status.zero ? 'zero' : 'data' }
}

/** Spreads bytes over time. */
class RateLimit {
  readonly #rate: number
  readonly #start = Date.now()
  #bytes = 0

  /** @param rate bytes per second */
  constructor(rate: number) {
    this.#rate = rate
  }

  /** Resolves when so many bytes more may go. */
  async take(bytes: number): Promise<void> {
    const due = this.#start + (this.#bytes / this.#rate) * 1000
    this.#bytes += bytes
    const wait = due - Date.now()
    if (wait > 0) await new Promise<void>((resolve) => setTimeout(resolve, wait))
  }
}
