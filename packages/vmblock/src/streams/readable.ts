/**
 * The content of a disk as a web stream. Nothing is read before the first chunk is wanted; from then on a few pieces are
 * read ahead, so that the disk works while the reader of the stream does.
 */
import type { AbortSignalLike, BlockNode } from '@vmblock/block-core'
import { type Check, requirePositive, wrongValue } from '@vmblock/block-core/driver'
import { type RangeOptions, rangeOf } from './range.ts'
import { onAbort } from './until-aborted.ts'

/** What {@link VirtualDisk.readable} streams, and how. */
export interface ReadableOptions extends RangeOptions {
  /** Bytes in a chunk, 64 MiB at most; the last one may be shorter. Default: 1 MiB. */
  readonly chunkSize?: number | undefined
}

type Chunk = Uint8Array<ArrayBuffer>

/** Bytes in a chunk: as measured, from 256 KiB to 1 MiB all are as fast, and from 4 MiB on they are slower. */
const CHUNK = 2 ** 20
/** Most bytes in a chunk: two are in memory at a time. */
const LARGEST_CHUNK = 2 ** 26
/** Pieces that are read before they are wanted, beside the one that is. */
const AHEAD = 1

const requireChunkSize: Check = (value, name) => {
  requirePositive(value, name)
  if ((value as number) > LARGEST_CHUNK) throw wrongValue(name, `${LARGEST_CHUNK} bytes at most`, value)
}

/** @throws BlockError EINVAL that names a wrong option */
export function readableOf(node: BlockNode, options: ReadableOptions): ReadableStream<Chunk> {
  const { start, end } = rangeOf(options, node.size, { chunkSize: requireChunkSize })
  const { chunkSize = CHUNK, signal } = options
  return new ReadableStream(new Reading(node, { start, end, chunkSize, signal }), { highWaterMark: 0 })
}

interface Plan {
  readonly start: number
  readonly end: number
  readonly chunkSize: number
  readonly signal: AbortSignalLike | undefined
}

/** Where a stream is. */
class Reading implements UnderlyingDefaultSource<Chunk> {
  readonly #node: BlockNode
  readonly #plan: Plan
  /** Where the next read begins, in bytes. */
  #offset: number
  readonly #ahead: Promise<Chunk>[] = []
  #forget: () => void = () => undefined
  #hasEnded = false

  constructor(node: BlockNode, plan: Plan) {
    this.#node = node
    this.#plan = plan
    this.#offset = plan.start
  }

  start(controller: ReadableStreamDefaultController<Chunk>): void {
    const { start, end, signal } = this.#plan
    this.#forget = onAbort(signal, (reason) => {
      this.#end()
      controller.error(reason)
    })
    if (start === end && !this.#hasEnded) this.#close(controller)
  }

  async pull(controller: ReadableStreamDefaultController<Chunk>): Promise<void> {
    this.#readAhead()
    const next = this.#ahead.shift()
    try {
      const chunk = await next!
      if (this.#hasEnded) return
      controller.enqueue(chunk)
      if (this.#offset === this.#plan.end && this.#ahead.length === 0) this.#close(controller)
    } catch (error) {
      if (this.#hasEnded) return
      this.#end()
      throw error
    }
  }

  cancel(): void {
    this.#end()
  }

  #readAhead(): void {
    const { end, chunkSize } = this.#plan
    while (this.#ahead.length <= AHEAD && this.#offset < end) {
      const chunk = new Uint8Array(Math.min(chunkSize, end - this.#offset))
      const read = this.#node.read(this.#offset, chunk).then(() => chunk)
      // It is looked at when it is wanted; the stream may end before that.
      read.catch(() => undefined)
      this.#ahead.push(read)
      this.#offset += chunk.length
    }
  }

  #close(controller: ReadableStreamDefaultController<Chunk>): void {
    this.#end()
    controller.close()
  }

  #end(): void {
    this.#hasEnded = true
    this.#ahead.length = 0
    this.#forget()
  }
}
