/**
 * Moves bytes between a file descriptor and a buffer: by system calls on this thread or on Node's thread
 * pool. adaptive-engine.ts finds out which of the two is faster at the moment.
 *
 * Measured through a node (Node 20, two cores, ext4, page cache; us per request at depth 1 / 64):
 *
 * |           | on this thread | on the pool |
 * |-----------|----------------|-------------|
 * | read 4k   | 3.9 / 3.2      | 52 / 15     |
 * | read 64k  | 9.2 / 8.7      | 49 / 17     |
 * | read 1M   | 230 / 200      | 310 / 140   |
 * | write 4k  | 9.6 / 11       | 63 / 20     |
 * | write 64k | 28 / 28        | 65 / 37     |
 *
 * So a request that the page cache answers is done before a thread could take it over; a request that waits
 * for a disk, or copies a lot while others could copy too, belongs in the pool.
 */
import { fdatasync, fdatasyncSync, read, readSync, write, writeSync } from 'node:fs'
import { BlockError } from '../base/errors.ts'
import { Line } from '../base/line.ts'
import type { Where } from './host-calls.ts'
import { fromHostError } from './host-error.ts'

/** Reads and writes of one open file. Offsets in bytes. */
export interface IoEngine {
  /** Fills all of `into`; bytes beyond the end of the file read as zeroes. */
  pread(fd: number, into: Uint8Array, offset: number): Promise<void>
  /** Writes all of `from`, growing the file if needed. */
  pwrite(fd: number, from: Uint8Array, offset: number): Promise<void>
  /** Makes the data of completed writes durable. */
  fdatasync(fd: number): Promise<void>
  /**
   * Makes a system call that neither reads nor writes, on the thread that suits it now.
   *
   * @param bytes length of the range that determines the work of the call
   */
  call<T>(bytes: number, run: (where: Where) => Promise<T>): Promise<T>
  /**
   * Starts no further system call, and resolves when none is running in the thread pool any more: only then
   * may a file descriptor be closed, since its number may be given to another file at once.
   */
  stop(): Promise<void>
}

/** One system call moves at most this many bytes: Linux stops at 2 GiB less a page. */
const LONGEST_CALL = 2 ** 30

const failed = (what: string, error: unknown): BlockError => fromHostError(error, what)
const isInterrupted = (error: unknown): boolean => (error as { code?: unknown }).code === 'EINTR'
/** The error for a request made after the engine was stopped. */
export const stopped = (): BlockError => new BlockError('ECANCELED', 'the file was closed under the request')
/** The error if the host accepts 0 bytes of a write: repeating it would never end. */
export const noProgress = (): BlockError => new BlockError('ENOSPC', 'the file takes no more data')

/** Fills `into` with system calls on this thread; zeroes beyond the end of the file. */
export function readNow(fd: number, into: Uint8Array, offset: number): void {
  let done = 0
  while (done < into.length) {
    try {
      const count = readSync(fd, into, done, Math.min(into.length - done, LONGEST_CALL), offset + done)
      if (count === 0) break
      done += count
    } catch (error) {
      if (!isInterrupted(error)) throw failed('Could not read', error)
    }
  }
  if (done < into.length) into.fill(0, done)
}

/** Writes `from` with system calls on this thread. */
export function writeNow(fd: number, from: Uint8Array, offset: number): void {
  let done = 0
  while (done < from.length) {
    try {
      const count = writeSync(fd, from, done, Math.min(from.length - done, LONGEST_CALL), offset + done)
      if (count === 0) throw noProgress()
      done += count
    } catch (error) {
      if (!isInterrupted(error)) throw failed('Could not write', error)
    }
  }
}

/**
 * `aio=sync`: every system call on the calling thread, flushes too. Consecutive requests do not let the event
 * loop turn: for programs that do one thing at a time.
 */
export class SyncEngine implements IoEngine {
  #stopped = false

  async pread(fd: number, into: Uint8Array, offset: number): Promise<void> {
    if (this.#stopped) throw stopped()
    readNow(fd, into, offset)
  }
  async pwrite(fd: number, from: Uint8Array, offset: number): Promise<void> {
    if (this.#stopped) throw stopped()
    writeNow(fd, from, offset)
  }
  async fdatasync(fd: number): Promise<void> {
    if (this.#stopped) throw stopped()
    try {
      fdatasyncSync(fd)
    } catch (error) {
      throw failed('Could not flush', error)
    }
  }
  async call<T>(_bytes: number, run: (where: Where) => Promise<T>): Promise<T> {
    if (this.#stopped) throw stopped()
    return run('here')
  }
  async stop(): Promise<void> {
    this.#stopped = true
  }
}

/**
 * Limit of calls in the pool, of all engines together; further ones wait here. The pool reports all that have
 * ended in one turn of the event loop, so this bounds the work of a turn. Never fewer than the threads the
 * pool may have.
 */
const POOLED = Math.max(256, Number(process.env['UV_THREADPOOL_SIZE']) || 0)
let pooled = 0
const waitingForPool = new Line<() => void>()

function enterPool(call: () => void): void {
  if (pooled >= POOLED) {
    waitingForPool.add(call)
    return
  }
  pooled++
  call()
}

/** Passes the slot of a call that has ended to the next one. */
function leavePool(): void {
  const next = waitingForPool.shift()
  if (next) next()
  else pooled--
}

/** The callback of a host call: an error, or the number of bytes moved. */
type Moved = (error: NodeJS.ErrnoException | null, bytes: number) => void

/** `aio=threads`: every system call on the thread pool. The event loop turns for each, blocked by none. */
export class ThreadEngine implements IoEngine {
  #running = 0
  #stopped = false
  #wake: (() => void)[] = []

  /** Calls in the pool, or waiting for one of its threads. */
  get running(): number {
    return this.#running
  }

  async pread(fd: number, into: Uint8Array, offset: number): Promise<void> {
    const done = await this.readUntilEnd(fd, into, offset)
    if (done < into.length) into.fill(0, done)
  }

  /**
   * Reads until `into` is full, or until `isEnd` says that a short read ended at the end of the file.
   * @returns bytes read
   */
  readUntilEnd(
    fd: number,
    into: Uint8Array,
    offset: number,
    isEnd?: (done: number) => boolean,
  ): Promise<number> {
    return this.#move('Could not read', into.length, isEnd, (start, bytes, moved) =>
      read(fd, into, start, bytes, offset + start, moved),
    )
  }

  async pwrite(fd: number, from: Uint8Array, offset: number): Promise<void> {
    const done = await this.#move('Could not write', from.length, undefined, (start, bytes, moved) =>
      write(fd, from, start, bytes, offset + start, moved),
    )
    if (done < from.length) throw noProgress()
  }

  async fdatasync(fd: number): Promise<void> {
    await this.#move('Could not flush', 1, undefined, (_start, _bytes, moved) =>
      fdatasync(fd, (error) => moved(error, 1)),
    )
  }

  async call<T>(_bytes: number, run: (where: Where) => Promise<T>): Promise<T> {
    if (this.#stopped) throw stopped()
    this.#running++
    try {
      return await run('pool')
    } finally {
      this.#ended()
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true
    while (this.#running > 0) await new Promise<void>((resolve) => this.#wake.push(resolve))
  }

  /**
   * Repeats a call until everything is moved, a call moves nothing, or `isEnd` says that the file has no
   * more. One promise for all of them: a chain of promises would cost as much as the call.
   *
   * @returns bytes moved
   */
  #move(
    what: string,
    length: number,
    isEnd: ((done: number) => boolean) | undefined,
    call: (start: number, bytes: number, moved: Moved) => void,
  ): Promise<number> {
    if (length === 0) return Promise.resolve(0)
    if (this.#stopped) return Promise.reject(stopped())
    return new Promise((resolve, reject) => {
      let done = 0
      let wanted = 0
      const end = (): void => {
        leavePool()
        this.#ended()
      }
      const refuse = (error: unknown): void => {
        end()
        reject(error)
      }
      const next = (): void => {
        wanted = Math.min(length - done, LONGEST_CALL)
        call(done, wanted, moved)
      }
      const begin = (): void => {
        try {
          if (this.#stopped) refuse(stopped())
          else next()
        } catch (error) {
          // Node itself rejected the arguments.
          refuse(failed(what, error))
        }
      }
      const moved: Moved = (error, count) => {
        if (error && !isInterrupted(error)) return refuse(failed(what, error))
        if (!error) done += count
        const isOver = done === length || (!error && (count === 0 || (count < wanted && isEnd?.(done))))
        if (isOver) {
          end()
          resolve(done)
        } else if (this.#stopped) refuse(stopped())
        else next()
      }
      this.#running++
      enterPool(begin)
    })
  }

  #ended(): void {
    this.#running--
    if (this.#running === 0) for (const wake of this.#wake.splice(0)) wake()
  }
}
