/**
 * A disk as the target of a web stream: chunks are written one after the other, from `start` on, and the disk is flushed
 * when the stream is closed.
 */

import { bytesOf, readOnlyError } from '@vmblock/block-core/driver'
import { type AbortSignalLike, BlockError, type BlockNode, type Bytes } from '@vmblock/block-core/open'
import { type RangeOptions, rangeOf } from './range.ts'
import { onAbort, untilAborted } from './until-aborted.ts'

/** Where {@link VirtualDisk.writable} writes. */
export type WritableOptions = RangeOptions

/** Bytes that may wait to be written before writers are told to wait. */
const WAITING = 2 ** 20

/** @throws BlockError EINVAL that names a wrong option; EPERM if the disk is read-only */
export function writableOf(node: BlockNode, options: WritableOptions): WritableStream<Bytes> {
  const { start, end } = rangeOf(options, node.size)
  if (node.readOnly) throw readOnlyError(node)
  return new WritableStream(new Writing(node, start, end, options.signal), {
    highWaterMark: WAITING,
    // What is no chunk at all is refused when its turn comes.
    size: (chunk) => Math.max(Number((chunk as Partial<ArrayBufferView> | null)?.byteLength) || 1, 1),
  })
}

/** Where a stream is. */
class Writing implements UnderlyingSink<Bytes> {
  readonly #node: BlockNode
  readonly #end: number
  readonly #signal: AbortSignalLike | undefined
  /** Where the next chunk goes, in bytes. */
  #offset: number
  #forget: () => void = () => undefined

  constructor(node: BlockNode, start: number, end: number, signal: AbortSignalLike | undefined) {
    this.#node = node
    this.#offset = start
    this.#end = end
    this.#signal = signal
  }

  start(controller: WritableStreamDefaultController): void {
    this.#forget = onAbort(this.#signal, (reason) => controller.error(reason))
  }

  async write(chunk: Bytes, controller: WritableStreamDefaultController): Promise<void> {
    try {
      const bytes = bytesOf(chunk, 'chunk')
      const left = this.#end - this.#offset
      if (bytes.length > left)
        throw new BlockError(
          'ENOSPC',
          `a chunk of ${bytes.length} bytes does not fit: the stream ends at ${this.#end}, ${left} bytes on`,
          { node: this.#node.name, offset: this.#offset },
        )
      await untilAborted(this.#node.write(this.#offset, bytes), this.#signal, controller.signal)
      this.#offset += bytes.length
    } catch (error) {
      this.#forget()
      throw error
    }
  }

  async close(): Promise<void> {
    try {
      await untilAborted(this.#node.flush(), this.#signal)
    } finally {
      this.#forget()
    }
  }

  abort(): void {
    this.#forget()
  }
}
