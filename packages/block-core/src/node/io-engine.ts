/**
 * How bytes get from a file descriptor into a buffer and back: by system calls on the main thread or on Node's
 * thread pool. Which of the two is quicker right now is found out by adaptive-engine.ts.
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
 * So a request that the page cache answers is done before a thread could take it over; one that waits for a
 * disk, or copies a lot while others could copy too, belongs to the pool.
 */
import { fdatasync, fdatasyncSync, read, readSync, write, writeSync } from 'node:fs'
import { BlockError } from '../errors.ts'
import { Line } from '../line.ts'
import type { Where } from './host-calls.ts'
import { fromHostError } from './host-error.ts'

/** Reads and writes of one open file. Offsets in bytes. */
export interface IoEngine {
  /** Fills all of `into`; what lies beyond the end of the file reads as zeroes. */
  pread(fd: number, into: Uint8Array, offset: number): Promise<void>
  /** Writes all of `from`, growing the file where that ends beyond it. */
  pwrite(fd: number, from: Uint8Array, offset: number): Promise<void>
  /** Makes what was written durable. */
  fdatasync(fd: number): Promise<void>
  /**
   * Makes a system call that neither reads nor writes, on the thread where that belongs now.
   *
   * @param bytes how much of the file its work grows with
   */
  call<T>(bytes: number, run: (where: Where) => Promise<T>): Promise<T>
  /**
   * Starts no further system call, and resolves when none is running in the thread pool any more: only then
   * may a file descriptor be closed, since its number may be given to another file at once.
   */
  stop(): Promise<void>
}

/** One system call moves at most this much: Linux stops at 2 GiB less a page. */
const LONGEST_CALL = 2 ** 30

const failed = (what: string, error: unknown): BlockError => fromHostError(error, what)
const isInterrupted = (error: unknown): boolean => (error as { code?: unknown }).code === 'EINTR'
/** What a request meets that comes after the end. */
export const stopped = (): BlockError => new BlockError('ECANCELED', 'the file was closed under the request')
/** The host accepted a write of nothing: repeating it would never end. */
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
 * `aio=sync`: every system call on the calling thread, the flush too. Requests that follow each other do not let
 * the event loop turn: for programs that do one thing at a time.
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
 * Calls of all engines that are in the pool at once; more wait here. The pool tells of all that have ended in one turn of
 * the event loop, so these are what a turn can bring. Never fewer than the pool may have threads.
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

/** A call has ended: its place is that of the next one. */
function leavePool(): void {
  const next = waitingForPool.shift()
  if (next) next()
  else pooled--
}

/** What the host calls back with: an error, or the bytes that were moved. */
type Moved = (error: NodeJS.ErrnoException | null, bytes: number) => void

/** `aio=threads`: every system call on the thread pool. The event loop turns for each, and waits for none. */
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

  /** Reads until `into` is full or `isEnd` says so of a short read. @returns bytes read */
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
   * Repeats a call until all is moved, nothing is, or `isEnd` says that the rest is not there. One promise for all of
   * it: a chain of them would cost as much as the call.
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
          // Arguments that Node itself does not take.
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
