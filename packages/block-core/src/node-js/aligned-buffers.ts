/**
 * Memory for O_DIRECT. Node allocates no page-aligned Buffers, but a `WebAssembly.Memory` starts on a page,
 * so a view's `byteOffset` tells how its address is aligned.
 */

import { requireCount } from '../base/arguments.ts'
import { BlockError } from '../base/errors.ts'

/** Bytes of a WebAssembly page. */
const WASM_PAGE = 64 * 1024
/** Bytes of one buffer: longer requests are split. */
export const ALIGNED_BUFFER = 1024 * 1024
/** Number of buffers. Untouched pages cost no memory, only 64 MiB of address space. */
const BUFFERS = 64

/** The memories whose views are known to be aligned as their `byteOffset` is. */
const alignedMemory = new WeakSet<ArrayBufferLike>()

/** @throws BlockError ENOMEM */
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

/** Allocates page-aligned memory, which reaches O_DIRECT uncopied. Bytes. @throws BlockError ENOMEM */
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

/** A fixed number of page-aligned buffers to borrow; borrowers wait in line when none is free. */
export class AlignedBuffers {
  /** Free buffers; the last one returned is lent first, for the processor's cache. */
  #free: Uint8Array[] | undefined
  readonly #waiting: ((buffer: Uint8Array) => void)[] = []

  /** Lends a buffer of {@link ALIGNED_BUFFER} bytes to `body` until its promise settles. */
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
 * The buffers that all files of the process share: each WebAssembly memory takes 8 GiB of address space for
 * its guard pages, so one per file would soon reach the limit. The memory is allocated when the first buffer
 * is lent.
 */
export const sharedBuffers = new AlignedBuffers()
