/**
 * `aio=adaptive`: system calls on this thread while the page cache answers, else on Node's thread pool, with
 * a bound on how long they may block the event loop.
 *
 * The bound: requests on this thread, of all its files together, end at most 10 ms after the event loop last
 * turned, plus one request of at most {@link LARGEST} bytes. Requests that had to wait for the turn continue
 * under the same rule (drivers/event-loop.ts). How long one request takes is up to the page cache. If
 * requests wait for the disk, three in a row are enough to move all further ones to the pool; of those one is
 * tried here again now and then, ever more rarely. Flushes never run here. Applications in which not even one
 * request may wait for a disk use `aio=threads`.
 */
import { type LoopBudget, loopBudget } from '../base/event-loop.ts'
import type { Where } from './host-calls.ts'
import { type IoEngine, readNow, stopped, ThreadEngine, writeNow } from './io-engine.ts'

/** Limit in microseconds for a request that the page cache answers, plus one for each 2 KiB. */
const CACHED_US = 25
const BYTES_PER_US = 2048
/** Limit of one request's share: below 1 / {@link WEIGHT}, so a single outlier never changes the path. */
const OUTLIER = 4
const WEIGHT = 1 / 8
/** Requests sent to the pool, while slow, between probes on this thread; doubled by each slow probe. */
const FIRST_PROBE = 16
const LAST_PROBE = 1024

/** Estimates whether the page cache answers, from how long recent requests took on this thread. */
export class CacheMeter {
  /** Moving mean of the time a request took, divided by the time allowed for the page cache. */
  #mean = 0
  #interval = FIRST_PROBE
  #untilProbe = 0

  /** Whether the next request should be tried on this thread. */
  tryNow(): boolean {
    return this.#mean <= 1 || this.#untilProbe-- <= 0
  }

  /** Records that a request of `bytes` bytes took `us` microseconds on this thread. */
  took(us: number, bytes: number): void {
    const share = Math.min(us / (CACHED_US + bytes / BYTES_PER_US), OUTLIER)
    this.#mean += (share - this.#mean) * WEIGHT
    if (this.#mean <= 1) {
      this.#interval = FIRST_PROBE
      return
    }
    // After a fast probe the next request is tried too, so that returning to this thread takes a few
    // requests, not many probes.
    this.#untilProbe = share > 1 ? this.#interval : 0
    if (share > 1) this.#interval = Math.min(this.#interval * 2, LAST_PROBE)
  }
}

/**
 * Bytes. From this size on, concurrent requests are better copied by several threads at once; their times
 * depend too much on memory speed to tell whether the page cache answers.
 */
const LARGE = 128 * 1024

/** Bytes. Longer requests go to the pool even when alone: copying them takes too long. */
const LARGEST = 2 * 1024 * 1024

/** On this thread while the page cache answers, else on the pool. Flushes on the pool. */
export class AdaptiveEngine implements IoEngine {
  readonly #pool = new ThreadEngine()
  readonly #reads = new CacheMeter()
  readonly #writes = new CacheMeter()
  readonly #calls = new CacheMeter()
  readonly #budget: LoopBudget
  readonly #clock: LoopBudget['clock']
  /** Large requests whose completion the caller has not seen yet. */
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
      // A request on this thread ends before a second can arrive. It was one of several if others wait for a turn,
      // or if the caller issues the next without having awaited it: before this microtask runs.
      this.#large++
      queueMicrotask(() => this.#large--)
    }
    return meter.tryNow()
  }
}
