/**
 * What of a file takes space: its holes are found and punched, and ranges are zeroed, without writing. The ways are
 * tried in the order of QEMU's block/file-posix.c; what a file system turns out not to have is not asked for again.
 */
import { alignDown, alignUp } from '../bits.ts'
import type { BlockStatus } from '../driver.ts'
import { isBlockError } from '../errors.ts'
import type { HostCalls, Where } from './host-calls.ts'

/** Runs a call on the file: its descriptor is given, and lives until the call is over. */
export type RunCall = <T>(bytes: number, run: (fd: number, where: Where) => Promise<T>) => Promise<T>

type SpaceCall = 'punchHole' | 'zeroRange' | 'allocate'

/** What a call came to. `refused`: this range cannot be done this way, others may. */
type Outcome = 'done' | 'refused' | 'missing'

const MISSING: ReadonlySet<unknown> = new Set(['ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'ENODEV', 'ENOTTY'])

/** The space of one file. Offsets and lengths in bytes. */
export class FileSpace {
  readonly #calls: HostCalls
  readonly #run: RunCall
  readonly #missing = new Set<SpaceCall>()
  /**
   * The last run of data that was found, as QEMU keeps it: asking for it can be slow, and who copies a file asks
   * many times. What becomes of it elsewhere does no harm: data is read where there is a hole.
   */
  #data = { start: 0, end: 0 }

  constructor(calls: HostCalls, run: RunCall) {
    this.#calls = calls
    this.#run = run
  }

  /** Whether holes can be punched, as far as is known. */
  get canPunch(): boolean {
    return this.#calls.punchHole !== undefined && !this.#missing.has('punchHole')
  }

  /** Frees a range, which then reads as zeroes. @returns whether that could be done */
  async punch(offset: number, bytes: number): Promise<boolean> {
    return (await this.#try('punchHole', offset, bytes)) === 'done'
  }

  /** Makes a range read as zeroes, and keeps its space, or takes some. @returns whether that could be done */
  async zero(offset: number, bytes: number): Promise<boolean> {
    if ((await this.#try('zeroRange', offset, bytes)) === 'done') return true
    if (!this.#calls.allocate || this.#missing.has('allocate')) return false
    if ((await this.#try('punchHole', offset, bytes)) !== 'done') return false
    return (await this.#try('allocate', offset, bytes)) === 'done'
  }

  /** What the longest run from `offset` is, at most `bytes` long; ends are multiples of `alignment`, or that of the file. */
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
      // Where nothing can be said of holes there are none.
      return data(bytes)
    }
    if (from === undefined) return hole(bytes)
    const before = alignDown(from - offset, alignment)
    if (before > 0) return hole(Math.min(before, bytes))
    if (from > offset) return data(Math.min(alignment, bytes))
    // The end may move while we look: then all of it is taken for data.
    if (to <= offset) return data(bytes)
    const length = alignUp(to - offset, alignment)
    this.#data = { start: offset, end: offset + length }
    return data(Math.min(length, bytes))
  }

  /** What was known of a range holds no longer. */
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
      // Some file systems do not like ranges that end within a block.
      if (code === 'EINVAL' || code === 'EBUSY') return 'refused'
      throw error
    }
  }
}

/** The host's own name of an error. */
const codeOf = (error: unknown): unknown =>
  ((error as { cause?: { code?: unknown } }).cause ?? (error as { code?: unknown }))?.code

const data = (bytes: number): BlockStatus => ({ bytes, allocated: true, data: true, zero: false })
const hole = (bytes: number): BlockStatus => ({ bytes, allocated: true, data: false, zero: true })
