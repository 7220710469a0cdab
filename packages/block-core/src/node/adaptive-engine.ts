/**
 * `aio=adaptive`: system calls on this thread while the page cache answers, else on Node's thread pool; and how
 * long that may keep the event loop from turning.
 *
 * The bound: requests on this thread end at the latest 10 ms after the event loop last turned, all files of the
 * thread together, plus one request, and that is of at most {@link LARGEST} bytes. Those that had to wait for the turn
 * go on by the same rule (drivers/event-loop.ts). How long one takes is up to the page cache. Where that has to wait for the disk, three requests in a row are enough to move
 * all further ones to the pool; of those one is tried here again now and then, ever more seldom. Flushes never
 * run here. Who cannot bear that one request waits for a disk takes `aio=threads`.
 */
import { type LoopBudget, loopBudget } from '../drivers/event-loop.ts'
import type { Where } from './host-calls.ts'
import { type IoEngine, readNow, stopped, ThreadEngine, writeNow } from './io-engine.ts'

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

/** Bytes. Longer requests go to the pool even when they come alone: copying them takes too long. */
const LARGEST = 2 * 1024 * 1024

/** On this thread while the page cache answers, else on the pool. Flushes on the pool. */
export class AdaptiveEngine implements IoEngine {
  readonly #pool = new ThreadEngine()
  readonly #reads = new CacheMeter()
  readonly #writes = new CacheMeter()
  readonly #calls = new CacheMeter()
  readonly #budget: LoopBudget
  readonly #clock: LoopBudget['clock']
  /** Large requests of which the caller has not yet seen the end. */
  #large = 0
  #stopped = false

  constructor(budget = loopBudget) {
    this.#budget = budget
    this.#clock = budget.clock
  }

  async pread(fd: number, into: Uint8Array, offset: number): Promise<void> {
    if (this.#budget.isSpent) await this.#budget.wait()
    if (!this.#chooseNow(this.#reads, into.length)) return this.#pool.pread(fd, into, offset)
    const start = this.#clock.now()
    readNow(fd, into, offset)
    this.#measure(this.#reads, start, into.length)
  }

  async pwrite(fd: number, from: Uint8Array, offset: number): Promise<void> {
    if (this.#budget.isSpent) await this.#budget.wait()
    if (!this.#chooseNow(this.#writes, from.length)) return this.#pool.pwrite(fd, from, offset)
    const start = this.#clock.now()
    writeNow(fd, from, offset)
    this.#measure(this.#writes, start, from.length)
  }

  fdatasync(fd: number): Promise<void> {
    return this.#pool.fdatasync(fd)
  }

  async call<T>(bytes: number, run: (where: Where) => Promise<T>): Promise<T> {
    if (this.#budget.isSpent) await this.#budget.wait()
    if (this.#stopped) throw stopped()
    if (bytes >= LARGE || !this.#calls.tryNow()) return this.#pool.call(bytes, run)
    const start = this.#clock.now()
    const done = run('here')
    this.#measure(this.#calls, start, 0)
    return done
  }

  stop(): Promise<void> {
    this.#stopped = true
    return this.#pool.stop()
  }

  #measure(meter: CacheMeter, start: number, bytes: number): void {
    const end = this.#clock.now()
    this.#budget.ended(end)
    if (bytes < LARGE) meter.took((end - start) * 1000, bytes)
  }

  #chooseNow(meter: CacheMeter, bytes: number): boolean {
    if (this.#stopped) throw stopped()
    if (bytes > LARGEST) return false
    if (bytes >= LARGE) {
      if (this.#large > 0 || this.#pool.running > 0 || this.#budget.hasWaiting) return false
      // A request done on this thread is over before a second can come; that it was one of several shows only
      // when the caller issues the next without having waited, before this microtask runs, or where others wait for a turn.
      this.#large++
      queueMicrotask(() => this.#large--)
    }
    return meter.tryNow()
  }
}
