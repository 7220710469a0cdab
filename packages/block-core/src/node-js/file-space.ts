/**
 * The allocated space of a file: finds and punches holes, and zeroes ranges without writing. The calls are
 * tried in the order of QEMU's block/file-posix.c; a call that the file system lacks is not tried again.
 */
import { alignDown, alignUp } from '../base/bits.ts'
import { isBlockError } from '../base/errors.ts'
import type { BlockStatus } from '../contract/node.ts'
import type { HostCalls, Where } from './host-calls.ts'

/** Runs a call on the file's descriptor, which stays open until the call ends. */
export type RunCall = <T>(bytes: number, run: (fd: number, where: Where) => Promise<T>) => Promise<T>

type SpaceCall = 'punchHole' | 'zeroRange' | 'allocate'

/** The outcome of a call. `refused`: the call cannot do this range, but may do others. */
type Outcome = 'done' | 'refused' | 'missing'

const MISSING: ReadonlySet<unknown> = new Set(['ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'ENODEV', 'ENOTTY'])

/** The space of one file. Offsets and lengths in bytes. */
export class FileSpace {
  readonly #calls: HostCalls
  readonly #run: RunCall
  readonly #missing = new Set<SpaceCall>()
  /**
   * The last run of data found; QEMU caches it too, since looking it up can be slow and a copy looks many
   * times. If another process punches holes in it, no harm is done: the holes are read as data.
   */
  #data = { start: 0, end: 0 }

  constructor(calls: HostCalls, run: RunCall) {
    this.#calls = calls
    this.#run = run
  }

  /** Whether holes can be punched, until a call shows otherwise. */
  get canPunch(): boolean {
    return this.#calls.punchHole !== undefined && !this.#missing.has('punchHole')
  }

  /** Frees a range, which then reads as zeroes. @returns whether it could */
  async punch(offset: number, bytes: number): Promise<boolean> {
    return (await this.#try('punchHole', offset, bytes)) === 'done'
  }

  /** Makes a range read as zeroes, and keeps or allocates its space. @returns whether it could */
  async zero(offset: number, bytes: number): Promise<boolean> {
    if ((await this.#try('zeroRange', offset, bytes)) === 'done') return true
    if (!this.#calls.allocate || this.#missing.has('allocate')) return false
    if ((await this.#try('punchHole', offset, bytes)) !== 'done') return false
    return (await this.#try('allocate', offset, bytes)) === 'done'
  }

  /**
   * The status of the longest run at `offset`, up to `bytes`; it ends at a multiple of `alignment` or at EOF.
   */
  async status(offset: number, bytes: number, alignment: number): Promise<BlockStatus> {
    const known = this.#data
    if (offset >= known.start && offset < known.end) return data(Math.min(known.end - offset, bytes))
    const { seekData, seekHole } = this.#calls
    if (!seekData || !seekHole) return data(bytes)
    let from: number | undefined
    let to = offset
    try {
      await this.#run(0, async (fd, where) => {
        from = await seekData(fd, offset, where)
        if (from === offset) to = await seekHole(fd, offset, where)
      })
    } catch (error) {
      if (isBlockError(error, 'ECANCELED')) throw error
      // If holes cannot be looked up, everything is data.
      return data(bytes)
    }
    if (from === undefined) return hole(bytes)
    const before = alignDown(from - offset, alignment)
    if (before > 0) return hole(Math.min(before, bytes))
    if (from > offset) return data(Math.min(alignment, bytes))
    // The end of the file may move meanwhile: then all of the range counts as data.
    if (to <= offset) return data(bytes)
    const length = alignUp(to - offset, alignment)
    this.#data = { start: offset, end: offset + length }
    return data(Math.min(length, bytes))
  }

  /** Drops what is known about a range. */
  forget(offset: number, bytes: number): void {
    const { start, end } = this.#data
    if (offset < end && start < offset + bytes) this.#data = { start: 0, end: 0 }
  }

  async #try(name: SpaceCall, offset: number, bytes: number): Promise<Outcome> {
    const call = this.#calls[name]
    if (!call || this.#missing.has(name)) return 'missing'
    this.forget(offset, bytes)
    try {
      await this.#run(bytes, (fd, where) => call(fd, offset, bytes, where))
      return 'done'
    } catch (error) {
      const code = codeOf(error)
      if (MISSING.has(code)) {
        this.#missing.add(name)
        return 'missing'
      }
      // Some file systems refuse ranges that end within a block.
      if (code === 'EINVAL' || code === 'EBUSY') return 'refused'
      throw error
    }
  }
}

/** The host's code of an error. */
const codeOf = (error: unknown): unknown =>
  ((error as { cause?: { code?: unknown } }).cause ?? (error as { code?: unknown }))?.code

const data = (bytes: number): BlockStatus => ({ bytes, allocated: true, data: true, zero: false })
const hole = (bytes: number): BlockStatus => ({ bytes, allocated: true, data: false, zero: true })
