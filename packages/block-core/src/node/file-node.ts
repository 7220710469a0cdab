/** One open host file as a node: what the `file` driver answers to the core's requests. */
import { ftruncateSync } from 'node:fs'
import { alignDown, alignUp } from '../bits.ts'
import type {
  BlockLimits,
  BlockStatus,
  NodeInfo,
  NodeOps,
  PreparedReopen,
  ReopenRequest,
  TruncateOptions,
  WriteFlag,
  WriteFlags,
} from '../driver.ts'
import { fromHostError } from '../errno.ts'
import { BlockError, isBlockError } from '../errors.ts'
import type { HostCalls } from './host-calls.ts'
import { close, fstat } from './host-fs.ts'
import { type OpenFile, placeOf } from './open-file.ts'
import { resizeFile } from './preallocate.ts'

/** What a file node is made of. */
export interface FileNodeInit {
  readonly file: OpenFile
  readonly calls: HostCalls
  /** Others may write to the file meanwhile (`locking=off`). */
  readonly shared?: boolean
  /** Opens the same file again, for a reopen. @throws BlockError; when an option changes that cannot */
  openAgain(request: ReopenRequest, direct: boolean): Promise<OpenFile>
}

const ZERO_FLAGS: ReadonlySet<WriteFlag> = new Set(['mayUnmap', 'noFallback'])

/** A regular file of the host. */
export class FileNode implements NodeOps {
  readonly place?: string
  readonly growable = true
  readonly zeroFlags = ZERO_FLAGS
  /** Only where the host can punch holes. */
  readonly discard?: (offset: number, bytes: number) => Promise<void>
  readonly #calls: HostCalls
  readonly #openAgain: FileNodeInit['openAgain']
  /** System calls that this file system turned out not to have. */
  readonly #missing = new Set<keyof HostCalls>()
  /** Writes in flight that end beyond `#size`: while there are any, setting the length could cut them off. */
  readonly #growing = new Set<Promise<unknown>>()
  /** Everything in flight on the descriptor beside the engine's own calls. */
  readonly #others = new Set<Promise<unknown>>()
  #file: OpenFile
  /** Bytes, as far as this node has made or seen the file. */
  #size: number
  #flushFailure: unknown
  #released = false

  constructor(init: FileNodeInit) {
    this.#file = init.file
    this.#calls = init.calls
    this.#openAgain = init.openAgain
    this.#size = init.file.stats.size
    if (!init.shared) this.place = placeOf(init.file.stats)
    if (init.calls.punchHole) this.discard = (offset, bytes) => this.#punchHole(offset, bytes)
  }

  get limits(): Partial<BlockLimits> {
    return { requestAlignment: this.#file.alignment }
  }

  size(): number {
    return this.#size
  }

  read(offset: number, into: Uint8Array): Promise<void> {
    return this.#file.engine.pread(this.#file.fd, into, offset)
  }

  write(offset: number, from: Uint8Array): Promise<void> {
    const { engine, fd } = this.#file
    const done = engine.pwrite(fd, from, offset)
    const end = offset + from.length
    return end > this.#size ? this.#grow(end, done) : done
  }

  /** Without the host's help only beyond the end of the file, where making it longer gives zeroes. */
  async writeZeroes(offset: number, bytes: number, flags: WriteFlags): Promise<void> {
    const end = offset + bytes
    if (flags.mayUnmap && end <= this.#size && (await this.#tryCall('punchHole', offset, bytes))) return
    const zeroing = this.#tryCall('zeroRange', offset, bytes)
    if (await (end > this.#size ? this.#grow(end, zeroing) : zeroing)) return
    await this.#extend(offset, end)
  }

  async blockStatus(offset: number, bytes: number): Promise<BlockStatus> {
    if (offset >= this.#size) return hole(bytes)
    const length = Math.min(bytes, this.#size - offset)
    const { seekData, seekHole } = this.#calls
    if (!seekData || !seekHole) return data(length)
    const { fd, alignment } = this.#file
    const from = await this.#use(() => seekData.call(this.#calls, fd, offset))
    if (from === undefined) return hole(length)
    const before = alignDown(from - offset, alignment)
    if (before > 0) return hole(Math.min(before, length))
    if (from > offset) return data(Math.min(alignment, length))
    const to = await this.#use(() => seekHole.call(this.#calls, fd, offset))
    // The end may move while we look: then all of it is taken for data.
    return data(to > offset ? Math.min(alignUp(to - offset, alignment), length) : length)
  }

  async truncate(size: number, options: TruncateOptions): Promise<void> {
    await this.#settled()
    const before = this.#size
    try {
      await this.#use(() => resizeFile(this.#file, before, size, options.preallocation ?? 'off', this.#calls))
      this.#size = size
    } catch (error) {
      await this.#readSize()
      throw error
    }
  }

  /**
   * Once it failed it fails for good: Linux may have marked the pages clean that it could not write, so that
   * the next one would succeed without the data. O_DIRECT leaves no such pages.
   */
  async flush(): Promise<void> {
    if (this.#flushFailure !== undefined) throw this.#flushFailure
    const { engine, fd, direct } = this.#file
    try {
      await engine.fdatasync(fd)
    } catch (error) {
      if (!direct && !isBlockError(error, 'ECANCELED')) this.#flushFailure = error
      throw error
    }
  }

  async info(): Promise<NodeInfo> {
    const { blocks } = await this.#use(() => fstat(this.#file.fd))
    // POSIX leaves the unit of st_blocks open; it is 512 bytes on every system that Node runs on.
    return { actualSize: blocks * 512 }
  }

  async prepareReopen(request: ReopenRequest): Promise<PreparedReopen> {
    const old = this.#file
    const direct = request.direct ?? old.direct
    const next = await this.#openAgain(request, direct)
    if (next.stats.dev !== old.stats.dev || next.stats.ino !== old.stats.ino) {
      await close(next.fd)
      throw new BlockError('EBUSY', 'Could not reopen file: its name now belongs to another file')
    }
    return {
      // The core holds requests back meanwhile: nothing uses the descriptor that goes.
      commit: () => {
        this.#file = next
        this.#size = next.stats.size
        return close(old.fd)
      },
      abort: () => close(next.fd),
    }
  }

  close(): Promise<void> {
    return this.#release()
  }

  /** What was handed to the host before may still reach the file until this resolves; nothing new is begun. */
  crash(): Promise<void> {
    return this.#release()
  }

  /** Follows a write beyond the end: the size counts once the data is there. */
  async #grow<T>(end: number, done: Promise<T>): Promise<T> {
    this.#growing.add(done)
    try {
      const result = await done
      if (result !== false && end > this.#size) this.#size = end
      return result
    } catch (error) {
      await this.#readSize()
      throw error
    } finally {
      this.#growing.delete(done)
    }
  }

  /** Resolves when no write beyond the end is in flight. */
  async #settled(): Promise<void> {
    while (this.#growing.size > 0) await Promise.allSettled(this.#growing)
  }

  /** Part of a write failed, or a resize: asks the file how long it is now. */
  async #readSize(): Promise<void> {
    if (this.#released) return
    this.#size = (await this.#use(() => fstat(this.#file.fd))).size
  }

  async #extend(offset: number, end: number): Promise<void> {
    if (offset >= this.#size) await this.#settled()
    if (offset < this.#size) throw new BlockError('ENOTSUP', 'the file cannot be zeroed in place')
    if (this.#released) throw releasedError()
    try {
      // At once, so that no write can begin between the check and this, and lose what lies beyond `end`.
      ftruncateSync(this.#file.fd, end)
    } catch (error) {
      throw fromHostError(error, 'Could not resize file')
    }
    this.#size = end
  }

  async #punchHole(offset: number, bytes: number): Promise<void> {
    if (!(await this.#tryCall('punchHole', offset, bytes)))
      throw new BlockError('ENOTSUP', 'the file system cannot punch holes')
  }

  /** Makes a call that the host or the file system may not have. @returns whether it was there */
  async #tryCall(name: 'punchHole' | 'zeroRange', offset: number, bytes: number): Promise<boolean> {
    const call = this.#calls[name]
    if (!call || this.#missing.has(name)) return false
    try {
      await this.#use(() => call.call(this.#calls, this.#file.fd, offset, bytes))
      return true
    } catch (error) {
      if (!isBlockError(error, 'ENOTSUP')) throw error
      this.#missing.add(name)
      return false
    }
  }

  /** Runs something on the descriptor that is not the engine's, so that the descriptor outlives it. */
  async #use<T>(run: () => Promise<T>): Promise<T> {
    if (this.#released) throw releasedError()
    const running = run()
    this.#others.add(running)
    try {
      return await running
    } catch (error) {
      throw fromHostError(error, 'the host failed')
    } finally {
      this.#others.delete(running)
    }
  }

  async #release(): Promise<void> {
    if (this.#released) return
    this.#released = true
    await this.#file.engine.stop()
    await Promise.allSettled(this.#others)
    await close(this.#file.fd).catch((error: unknown) => {
      throw fromHostError(error, 'Could not close file')
    })
  }
}

const releasedError = (): BlockError => new BlockError('ECANCELED', 'the file was closed under the request')

const data = (bytes: number): BlockStatus => ({ bytes, allocated: true, data: true, zero: false })
const hole = (bytes: number): BlockStatus => ({ bytes, allocated: true, data: false, zero: true })
