/**
 * O_DIRECT: requests that bypass the page cache. They never run on this thread, since each waits for the
 * disk: they go to the kernel if it takes them, else to the thread pool. They need aligned memory: other
 * memory goes through a borrowed buffer.
 */
import { BlockError } from '../base/errors.ts'
import type { AioQueue } from './aio-queue.ts'
import { AioTransfers } from './aio-transfers.ts'
import { ALIGNED_BUFFER, type AlignedBuffers, isAligned, sharedBuffers } from './aligned-buffers.ts'
import type { Where } from './host-calls.ts'
import { close, open, pread } from './host-fs.ts'
import { type IoEngine, ThreadEngine } from './io-engine.ts'

/** The alignment of buffers, in bytes. Every Linux file system and disk accepts page-aligned memory. */
const MEMORY_ALIGNMENT = 4096
/** Alignments in bytes that file systems may require, in the order in which QEMU tries them. */
const CANDIDATES = [1, 512, 1024, 2048, 4096]

/** A queue shared with other engines. */
export interface LentQueue {
  readonly queue: AioQueue
  /** To be called once the queue holds nothing of this engine. */
  giveBack?(): Promise<void>
}

/** Reads and writes of a file opened with O_DIRECT. Offsets and lengths must have the file's alignment. */
export class DirectEngine implements IoEngine {
  readonly #pool = new ThreadEngine()
  readonly #alignment: number
  readonly #buffers: AlignedBuffers
  readonly #aio: AioTransfers | undefined
  #giveBack: LentQueue['giveBack']

  /**
   * @param alignment what {@link probeAlignment} found, in bytes
   * @param more `queue`: takes requests without a thread; without it all go to the pool
   */
  constructor(
    alignment: number,
    {
      buffers = sharedBuffers,
      queue,
      giveBack,
    }: Partial<LentQueue> & { readonly buffers?: AlignedBuffers } = {},
  ) {
    this.#alignment = alignment
    this.#buffers = buffers
    this.#aio = queue && new AioTransfers(queue, this.#pool)
    this.#giveBack = giveBack
  }

  async pread(fd: number, into: Uint8Array, offset: number): Promise<void> {
    // A short read that ends unaligned has reached the end of the file: continuing from there would fail with
    // EINVAL.
    const isEnd = (done: number): boolean => (offset + done) % this.#alignment !== 0
    const engine = this.#aio ?? this.#pool
    if (isAligned(into, MEMORY_ALIGNMENT)) {
      const done = await engine.readUntilEnd(fd, into, offset, isEnd)
      if (done < into.length) into.fill(0, done)
      return
    }
    await this.#buffers.borrow(async (buffer) => {
      for (let at = 0; at < into.length; at += ALIGNED_BUFFER) {
        const piece = buffer.subarray(0, Math.min(ALIGNED_BUFFER, into.length - at))
        const done = await engine.readUntilEnd(fd, piece, offset + at, isEnd)
        into.set(done < piece.length ? piece.subarray(0, done) : piece, at)
        if (done === piece.length) continue
        into.fill(0, at + done)
        return
      }
    })
  }

  async pwrite(fd: number, from: Uint8Array, offset: number): Promise<void> {
    const engine = this.#aio ?? this.#pool
    if (isAligned(from, MEMORY_ALIGNMENT)) return engine.pwrite(fd, from, offset)
    await this.#buffers.borrow(async (buffer) => {
      for (let at = 0; at < from.length; at += ALIGNED_BUFFER) {
        const piece = from.subarray(at, at + ALIGNED_BUFFER)
        buffer.set(piece)
        await engine.pwrite(fd, buffer.subarray(0, piece.length), offset + at)
      }
    })
  }

  fdatasync(fd: number): Promise<void> {
    return this.#pool.fdatasync(fd)
  }
  call<T>(bytes: number, run: (where: Where) => Promise<T>): Promise<T> {
    return this.#pool.call(bytes, run)
  }
  async stop(): Promise<void> {
    await Promise.all([this.#pool.stop(), this.#aio?.stop()])
    const giveBack = this.#giveBack
    this.#giveBack = undefined
    await giveBack?.()
  }
}

/**
 * Finds the alignment that an O_DIRECT file requires of offsets and lengths, by reading ever larger pieces. A
 * file that allows reads of single bytes is empty, or its first block is a hole, so this proves nothing: then
 * 4096 is assumed, as QEMU does.
 *
 * @returns bytes, a power of two
 * @throws BlockError EINVAL when no alignment works
 */
export function probeAlignment(fd: number, buffers: AlignedBuffers = sharedBuffers): Promise<number> {
  return buffers.borrow(async (buffer) => {
    for (const bytes of CANDIDATES) {
      try {
        await pread(fd, buffer, 0, bytes, 0)
      } catch (error) {
        // Any other error comes from the disk, whatever the alignment.
        if ((error as { code?: unknown }).code === 'EINVAL') continue
      }
      return bytes === 1 ? 4096 : bytes
    }
    throw new BlockError('EINVAL', 'Could not find working O_DIRECT alignment')
  })
}

/** Whether the file opens without O_DIRECT: then the file system refused that flag. */
export async function opensWithoutDirect(filename: string, flags: number): Promise<boolean> {
  try {
    await close(await open(filename, flags))
    return true
  } catch {
    return false
  }
}
