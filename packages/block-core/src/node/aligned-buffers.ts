/**
 * Memory that O_DIRECT takes. Node gives no page-aligned Buffers, but the memory of a `WebAssembly.Memory`
 * starts on a page, so a view's `byteOffset` tells how its address is aligned.
 */

import { requireCount } from '../arguments.ts'
import { BlockError } from '../errors.ts'

/** Bytes of a WebAssembly page. */
const WASM_PAGE = 64 * 1024
/** Bytes of one buffer: a longer request goes in pieces. */
export const ALIGNED_BUFFER = 1024 * 1024
/** Untouched pages cost no memory, only the 64 MiB of addresses. */
const BUFFERS = 64

/** Every memory whose views are known to be aligned as their `byteOffset` is. */
const alignedMemory = new WeakSet<ArrayBufferLike>()

/** @throws BlockError ENOMEM that says what is missing */
function takeMemory(pages: number): WebAssembly.Memory {
  try {
    return new WebAssembly.Memory({ initial: pages, maximum: pages })
  } catch (cause) {
    throw new BlockError(
      'ENOMEM',
      `Cannot have ${(pages * WASM_PAGE) / 2 ** 20} MiB of page-aligned memory, which O_DIRECT needs: ` +
        'it takes 10 GiB of addresses, which a limit of the process (ulimit -v) may forbid',
      { cause, hint: 'Open without cache.direct=on, or raise the limit.' },
    )
  }
}

/** Page-aligned memory of its own, for a caller that wants its requests to reach O_DIRECT uncopied. Bytes. @throws BlockError ENOMEM */
export function allocateAligned(bytes: number): Uint8Array {
  requireCount(bytes, 'bytes')
  const pages = Math.max(1, Math.ceil(bytes / WASM_PAGE))
  const { buffer } = takeMemory(pages)
  alignedMemory.add(buffer)
  return new Uint8Array(buffer, 0, bytes)
}

/** Whether the address of `bytes`, not its length, is known to be a multiple of `alignment` (up to 4096). */
export const isAligned = (bytes: Uint8Array, alignment: number): boolean =>
  bytes.byteOffset % alignment === 0 && alignedMemory.has(bytes.buffer)

/** A fixed number of page-aligned buffers to borrow; who finds none free waits in line. */
export class AlignedBuffers {
  /** Free buffers; the last one given back is the first one lent, for the processor's cache. */
  #free: Uint8Array[] | undefined
  readonly #waiting: ((buffer: Uint8Array) => void)[] = []

  /** Lends a buffer of {@link ALIGNED_BUFFER} bytes to `body` until that has settled. */
  async borrow<T>(body: (buffer: Uint8Array) => Promise<T>): Promise<T> {
    const buffer = this.#take() ?? (await new Promise<Uint8Array>((resolve) => this.#waiting.push(resolve)))
    try {
      return await body(buffer)
    } finally {
      this.#giveBack(buffer)
    }
  }

  #take(): Uint8Array | undefined {
    if (!this.#free) {
      const slab = allocateAligned(BUFFERS * ALIGNED_BUFFER)
      this.#free = Array.from({ length: BUFFERS }, (_, index) =>
        slab.subarray(index * ALIGNED_BUFFER, (index + 1) * ALIGNED_BUFFER),
      ).reverse()
    }
    return this.#free.pop()
  }

  #giveBack(buffer: Uint8Array): void {
    const next = this.#waiting.shift()
    if (next) next(buffer)
    else this.#free?.push(buffer)
  }
}

/**
 * The buffers that all files of the process share: each WebAssembly memory takes 8 GiB of addresses for its
 * guard pages, so one per file would soon meet the limit. Its memory is made when the first buffer is lent.
 */
export const sharedBuffers = new AlignedBuffers()
