/**
 * How bytes get from a file descriptor into a buffer and back: by system calls on the main thread, on
 * Node's thread pool, or by whichever of the two is quicker right now.
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
import { fdatasyncSync, readSync, writeSync } from 'node:fs'
import { fromHostError } from '../errno.ts'
import { BlockError } from '../errors.ts'
import { fdatasync, pread, pwrite } from './host-fs.ts'

/** Reads and writes of one open file. Offsets in bytes. */
export interface IoEngine {
  /** Fills all of `into`; what lies beyond the end of the file reads as zeroes. */
  pread(fd: number, into: Uint8Array, offset: number): Promise<void>
  /** Writes all of `from`, growing the file where that ends beyond it. */
  pwrite(fd: number, from: Uint8Array, offset: number): Promise<void>
  /** Makes what was written durable. */
  fdatasync(fd: number): Promise<void>
  /**
   * Starts no further system call, and resolves when none is running in the thread pool any more: only then
   * may a file descriptor be closed, since its number may be given to another file at once.
   */
  stop(): Promise<void>
}

/** The kinds of engine, as the option `aio` names them. */
export type EngineName = 'sync' | 'threads' | 'adaptive'

/** One system call moves at most this much: Linux stops at 2 GiB less a page. */
const LONGEST_CALL = 2 ** 30

const failed = (what: string, error: unknown): BlockError => fromHostError(error, what)
const isInterrupted = (error: unknown): boolean => (error as { code?: unknown }).code === 'EINTR'
const stopped = (): BlockError => new BlockError('ECANCELED', 'the file was closed under the request')
/** The host accepted a write of nothing: repeating it would never end. */
const noProgress = (): BlockError => new BlockError('ENOSPC', 'the file takes no more data')

/** Fills `into` with system calls on this thread. */
function readNow(fd: number, into: Uint8Array, offset: number): void {
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
function writeNow(fd: number, from: Uint8Array, offset: number): void {
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
class SyncEngine implements IoEngine {
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
  async stop(): Promise<void> {
    this.#stopped = true
  }
}

/** `aio=threads`: every system call on the thread pool. */
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
  async readUntilEnd(
    fd: number,
    into: Uint8Array,
    offset: number,
    isEnd: (done: number) => boolean = () => false,
  ): Promise<number> {
    let done = 0
    while (done < into.length) {
      const start = done
      const length = Math.min(into.length - start, LONGEST_CALL)
      const count = await this.#call('Could not read', () => pread(fd, into, start, length, offset + start))
      if (count === undefined) continue
      done += count
      if (count === 0 || (count < length && isEnd(done))) break
    }
    return done
  }

  async pwrite(fd: number, from: Uint8Array, offset: number): Promise<void> {
    let done = 0
    while (done < from.length) {
      const start = done
      const length = Math.min(from.length - start, LONGEST_CALL)
      const count = await this.#call('Could not write', () => pwrite(fd, from, start, length, offset + start))
      if (count === 0) throw noProgress()
      done += count ?? 0
    }
  }

  async fdatasync(fd: number): Promise<void> {
    while (!(await this.#call('Could not flush', () => fdatasync(fd).then(() => true)))) {}
  }

  async stop(): Promise<void> {
    this.#stopped = true
    while (this.#running > 0) await new Promise<void>((resolve) => this.#wake.push(resolve))
  }

  /** Counts a call while it runs. @returns undefined when a signal interrupted it */
  async #call<T>(what: string, run: () => Promise<T>): Promise<T | undefined> {
    if (this.#stopped) throw stopped()
    this.#running++
    try {
      return await run()
    } catch (error) {
      if (isInterrupted(error)) return undefined
      throw failed(what, error)
    } finally {
      this.#running--
      if (this.#running === 0) for (const wake of this.#wake.splice(0)) wake()
    }
  }
}

/** A request that the page cache answers takes at most this many microseconds, and one more for each 2 KiB. */
const CACHED_US = 25
const BYTES_PER_US = 2048
/** How far one outlier counts: below 8 times the weight, so that a single one never changes the path. */
const OUTLIER = 4
const WEIGHT = 1 / 8
/** While requests are slow, so many go to the pool before one is timed on this thread again; doubled while it is slow. */
const FIRST_PROBE = 16
const LAST_PROBE = 1024

/** Whether the page cache answers, from how long recent requests took on this thread. */
export class CacheMeter {
  /** Moving mean of the time a request took, as a share of what the page cache may take. */
  #mean = 0
  #interval = FIRST_PROBE
  #untilProbe = 0

  /** Whether the next request should be tried on this thread. */
  tryNow(): boolean {
    return this.#mean <= 1 || this.#untilProbe-- <= 0
  }

  /** A request of `bytes` bytes took `us` microseconds on this thread. */
  took(us: number, bytes: number): void {
    const share = Math.min(us / (CACHED_US + bytes / BYTES_PER_US), OUTLIER)
    this.#mean += (share - this.#mean) * WEIGHT
    if (this.#mean <= 1) {
      this.#interval = FIRST_PROBE
      return
    }
    // After a quick one the next is tried too, so that the way back takes a few requests and not many probes.
    this.#untilProbe = share > 1 ? this.#interval : 0
    if (share > 1) this.#interval = Math.min(this.#interval * 2, LAST_PROBE)
  }
}

/**
 * Bytes. From this size on, requests that come together are better copied by several threads at once; their
 * times depend too much on the memory to tell whether the page cache answers.
 */
const LARGE = 128 * 1024

/** Milliseconds after which requests on this thread let the event loop turn. */
const SLICE_MS = 10

/** `aio=adaptive`: on this thread while the page cache answers, else on the pool. Flushes on the pool. */
class AdaptiveEngine implements IoEngine {
  readonly #pool = new ThreadEngine()
  readonly #reads = new CacheMeter()
  readonly #writes = new CacheMeter()
  /** Large requests of which the caller has not yet seen the end. */
  #large = 0
  #stopped = false
  /** When a request on this thread last ended, and when the event loop last turned for us: milliseconds. */
  #now = 0
  #turned = 0
  #turn: Promise<void> | undefined

  async pread(fd: number, into: Uint8Array, offset: number): Promise<void> {
    if (this.#isTurnDue()) await this.#letTurn()
    if (!this.#chooseNow(this.#reads, into.length)) return this.#pool.pread(fd, into, offset)
    const start = performance.now()
    readNow(fd, into, offset)
    this.#measure(this.#reads, start, into.length)
  }

  async pwrite(fd: number, from: Uint8Array, offset: number): Promise<void> {
    if (this.#isTurnDue()) await this.#letTurn()
    if (!this.#chooseNow(this.#writes, from.length)) return this.#pool.pwrite(fd, from, offset)
    const start = performance.now()
    writeNow(fd, from, offset)
    this.#measure(this.#writes, start, from.length)
  }

  fdatasync(fd: number): Promise<void> {
    return this.#pool.fdatasync(fd)
  }
  stop(): Promise<void> {
    this.#stopped = true
    return this.#pool.stop()
  }

  /** Requests done on this thread resolve without a turn of the event loop: timers and sockets would starve. */
  #isTurnDue(): boolean {
    return this.#turn !== undefined || this.#now - this.#turned > SLICE_MS
  }

  /** Holds all requests until the event loop has turned: one that goes on would keep it from doing so. */
  #letTurn(): Promise<void> {
    this.#turn ??= new Promise((resolve) => {
      setImmediate(() => {
        this.#turn = undefined
        this.#turned = this.#now = performance.now()
        resolve()
      })
    })
    return this.#turn
  }

  #measure(meter: CacheMeter, start: number, bytes: number): void {
    this.#now = performance.now()
    if (bytes < LARGE) meter.took((this.#now - start) * 1000, bytes)
  }

  #chooseNow(meter: CacheMeter, bytes: number): boolean {
    if (this.#stopped) throw stopped()
    if (bytes >= LARGE) {
      if (this.#large > 0 || this.#pool.running > 0) return false
      // A request done on this thread is over before a second can come; that it was one of several shows only
      // when the caller issues the next without having waited: before this microtask runs.
      this.#large++
      queueMicrotask(() => this.#large--)
    }
    return meter.tryNow()
  }
}

/** Makes the engine for one open file. */
export function makeEngine(name: EngineName): IoEngine {
  if (name === 'sync') return new SyncEngine()
  return name === 'threads' ? new ThreadEngine() : new AdaptiveEngine()
}
