/** One open host file as a node: the `file` driver's side of the core's requests. */
import { ftruncateSync } from 'node:fs'
import { alignUp } from '../base/bits.ts'
import { BlockError, isBlockError } from '../base/errors.ts'
import type { BlockNode, BlockStatus } from '../contract/node.ts'
import type { NodeOps, PreparedReopen, ReopenRequest } from '../contract/node-ops.ts'
import type { Permissions, PreparedPermissions } from '../contract/permissions.ts'
import type { NodeInfo } from '../contract/reports.ts'
import type { BlockLimits, TruncateOptions, WriteFlag, WriteFlags } from '../contract/requests.ts'
import { opsOf } from '../graph/node-internals.ts'
import { FileLock, type FileLockOptions, type OwnLocks } from './file-lock.ts'
import { FileSpace } from './file-space.ts'
import type { HostCalls, Where } from './host-calls.ts'
import { fromHostError } from './host-error.ts'
import { close, fstat } from './host-fs.ts'
import { identityOf, type OpenFile } from './open-file.ts'
import { resizeFile } from './preallocate.ts'
import { Unsaved } from './unsaved.ts'

/** The parts of a file node. */
export interface FileNodeInit {
  readonly file: OpenFile
  readonly calls: HostCalls
  /** The name of the file, for messages. */
  readonly filename: string
  /** `off`: others may write to the file meanwhile. `auto`: they may if the host's locks cannot be used. */
  readonly locking: 'auto' | 'on' | 'off'
  readonly readOnly: boolean
  /** Whether to warn if the file is left open (unsaved.ts). */
  readonly warnAtExit: boolean
  /** The locks used if the host's cannot be. */
  readonly ownLocks: OwnLocks
  /** Opens the same file again, for a reopen. @throws BlockError, also if an option changes that must not */
  openAgain(request: ReopenRequest, direct: boolean): Promise<OpenFile>
}

const ZERO_FLAGS: ReadonlySet<WriteFlag> = new Set(['mayUnmap', 'noFallback'])

/** A regular file of the host. */
export class FileNode implements NodeOps {
  readonly identity: string
  readonly sharesIdentity: boolean
  readonly growable = true
  readonly zeroFlags = ZERO_FLAGS
  readonly #calls: HostCalls
  readonly #space: FileSpace
  readonly #openAgain: FileNodeInit['openAgain']
  readonly #unsaved: Unsaved
  /** Writes in flight that end beyond `#size`: setting the length meanwhile could cut them off. */
  readonly #growing = new Set<Promise<unknown>>()
  /** Calls in flight on the descriptor, besides the engine's own. */
  readonly #others = new Set<Promise<unknown>>()
  #file: OpenFile
  /** The size in bytes, as this node made it or last saw it. */
  #size: number
  /** Made when there is something to lock, since that loads the system calls. */
  #lock: FileLock | undefined
  readonly #locking: FileLockOptions | undefined
  #flushFailure: unknown
  #released = false

  constructor(init: FileNodeInit) {
    this.#file = init.file
    this.#calls = init.calls
    this.#openAgain = init.openAgain
    this.#unsaved = new Unsaved(init.filename, init.warnAtExit)
    if (!init.readOnly) this.#unsaved.watch()
    this.#size = init.file.size
    const { filename, locking, ownLocks } = init
    this.identity = identityOf(init.file.stats)
    this.sharesIdentity = locking === 'off'
    if (!this.sharesIdentity) this.#locking = { filename, required: locking === 'on', own: ownLocks }
    this.#space = new FileSpace(init.calls, (bytes, run) => this.call(bytes, run))
  }

  /** Present only if the host can punch holes. */
  get discard(): ((offset: number, bytes: number) => Promise<void>) | undefined {
    return this.#space.canPunch ? this.#discard : undefined
  }
  /** Present only if the host can copy. */
  get copyRange(): NodeOps['copyRange'] {
    return this.#calls.copyRange ? this.#copyRange : undefined
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
    this.#unsaved.isDirty = true
    const { engine, fd } = this.#file
    const done = engine.pwrite(fd, from, offset)
    const end = offset + from.length
    return end > this.#size ? this.#grow(end, done) : done
  }

  /** Without system calls for it, this works only beyond the end of the file, where growing yields zeroes. */
  async writeZeroes(offset: number, bytes: number, flags: WriteFlags): Promise<void> {
    this.#unsaved.isDirty = true
    const end = offset + bytes
    if (flags.mayUnmap) {
      const inside = Math.min(end, this.#size) - offset
      if (inside <= 0) return this.#extend(offset, end)
      if (await this.#space.punch(offset, inside))
        return end > this.#size ? this.#extend(this.#size, end) : undefined
    }
    const zeroing = this.#space.zero(offset, bytes)
    if (await (end > this.#size ? this.#grow(end, zeroing) : zeroing)) return
    await this.#extend(offset, end)
  }

  async blockStatus(offset: number, bytes: number): Promise<BlockStatus> {
    if (offset >= this.#size) return { bytes, allocated: true, data: false, zero: true }
    const { alignment } = this.#file
    return this.#space.status(offset, Math.min(bytes, alignUp(this.#size - offset, alignment)), alignment)
  }

  preparePermissions(wanted: Permissions): PreparedPermissions {
    if (!this.#locking) return { commit() {}, abort() {} }
    this.#lock ??= new FileLock(this.#calls.locks, this.#file.fd, this.#locking)
    return this.#lock.prepare(wanted)
  }

  async truncate(size: number, options: TruncateOptions): Promise<void> {
    await this.#waitForGrowth()
    if (this.#released) throw releasedError()
    this.#lock?.prepareResize()
    const before = this.#size
    this.#space.forget(Math.min(before, size), Infinity)
    try {
      await this.#use(() => resizeFile(this.#file, before, size, options.preallocation ?? 'off', this.#calls))
      this.#size = size
    } catch (error) {
      await this.#readSize()
      throw error
    }
  }

  /**
   * After one failure, flush fails for good: Linux may have marked the pages clean that it could not write,
   * so that the next fdatasync would succeed without the data. O_DIRECT leaves no such pages.
   */
  async flush(): Promise<void> {
    if (this.#flushFailure !== undefined) throw this.#flushFailure
    const { engine, fd, direct } = this.#file
    // Writes made meanwhile wait for the next flush.
    this.#unsaved.isDirty = false
    try {
      await engine.fdatasync(fd)
    } catch (error) {
      this.#unsaved.isDirty = true
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
      await closeFile(next)
      throw new BlockError('EBUSY', 'Could not reopen file: its name now belongs to another file')
    }
    try {
      this.#lock?.copyTo(next.fd)
    } catch (error) {
      this.#lock?.forget(next.fd)
      await closeFile(next)
      throw error
    }
    return {
      // The core holds requests back meanwhile: nothing uses the old descriptor.
      commit: () => {
        this.#file = next
        this.#lock?.moveTo(next.fd)
        this.#size = next.size
        if (request.readOnly) this.#unsaved.forget()
        else this.#unsaved.watch()
        return closeFile(old)
      },
      abort: () => {
        this.#lock?.forget(next.fd)
        return closeFile(next)
      },
    }
  }

  close(): Promise<void> {
    return this.#release()
  }

  /** Requests already handed to the host may still reach the file until this resolves; no new ones begin. */
  crash(): Promise<void> {
    return this.#release()
  }

  /** Tracks a write beyond the end: the size grows once the data is written. */
  async #grow<T>(end: number, done: Promise<T>): Promise<T> {
    const grown = this.#grown(end, done)
    this.#growing.add(grown)
    try {
      return await grown
    } finally {
      this.#growing.delete(grown)
    }
  }

  /** Ends once the size is known again, also after a failure. */
  async #grown<T>(end: number, done: Promise<T>): Promise<T> {
    try {
      const result = await done
      if (result !== false && end > this.#size) this.#size = end
      return result
    } catch (error) {
      await this.#readSize()
      throw error
    }
  }

  /** Resolves when no write beyond the end is in flight. */
  async #waitForGrowth(): Promise<void> {
    while (this.#growing.size > 0) await Promise.allSettled(this.#growing)
  }

  /** Reads the file's current size, after a write or a resize failed part way. */
  async #readSize(): Promise<void> {
    if (this.#released) return
    this.#size = (await this.#use(() => fstat(this.#file.fd))).size
  }

  async #extend(offset: number, end: number): Promise<void> {
    if (offset >= this.#size) await this.#waitForGrowth()
    if (offset < this.#size) throw new BlockError('ENOTSUP', 'the file cannot be zeroed in place')
    if (this.#released) throw releasedError()
    this.#lock?.prepareResize()
    try {
      // Synchronous, so that no write can begin between the check and this call, and lose its data beyond
      // `end`.
      ftruncateSync(this.#file.fd, end)
    } catch (error) {
      throw fromHostError(error, 'Could not resize file')
    }
    this.#size = end
  }

  readonly #discard = async (offset: number, bytes: number): Promise<void> => {
    if (!(await this.#space.punch(offset, bytes)))
      throw new BlockError('ENOTSUP', 'the file system cannot punch holes there')
  }

  readonly #copyRange = async (
    offset: number,
    bytes: number,
    source: BlockNode,
    sourceOffset: number,
  ): Promise<void> => {
    const ops = opsOf(source)
    if (!(ops instanceof FileNode)) throw notCopied()
    this.#unsaved.isDirty = true
    const copying = this.#copy(offset, bytes, ops, sourceOffset)
    const end = offset + bytes
    await (end > this.#size ? this.#grow(end, copying) : copying)
  }

  async #copy(offset: number, bytes: number, source: FileNode, sourceOffset: number): Promise<void> {
    const copyRange = this.#calls.copyRange!
    for (let done = 0; done < bytes; ) {
      const length = Math.min(bytes - done, LONGEST_COPY)
      const copyPiece = (): Promise<number> =>
        this.#file.engine.call(length, (where) =>
          copyRange(
            { fd: source.#file.fd, offset: sourceOffset + done },
            { fd: this.#file.fd, offset: offset + done },
            length,
            where,
          ),
        )
      try {
        const copied = await this.#use(() => source.#use(copyPiece))
        // The source file ended early.
        if (copied === 0) throw notCopied()
        done += copied
      } catch (error) {
        throw CANNOT_COPY.has(((error as BlockError).cause as { code?: unknown })?.code)
          ? notCopied(error)
          : error
      }
    }
  }

  /** Makes a call on the file that neither reads nor writes. `bytes`: the range that determines its work. */
  call<T>(bytes: number, run: (fd: number, where: Where) => Promise<T>): Promise<T> {
    return this.#use(() => this.#file.engine.call(bytes, (where) => run(this.#file.fd, where)))
  }

  /** Runs a call on the descriptor that is not the engine's, and keeps the descriptor open until it ends. */
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
    this.#unsaved.forget()
    await this.#file.engine.stop()
    await Promise.allSettled(this.#others)
    this.#lock?.end()
    await close(this.#file.fd).catch((error: unknown) => {
      throw fromHostError(error, 'Could not close file')
    })
  }
}

async function closeFile({ engine, fd }: OpenFile): Promise<void> {
  await engine.stop()
  await close(fd)
}

const releasedError = (): BlockError => new BlockError('ECANCELED', 'the file was closed under the request')

/** Largest single copy within the host, in bytes: a crash of the node has to wait for it. */
const LONGEST_COPY = 64 * 1024 * 1024

/** Errors that mean: the host cannot copy between these two files, in these ranges or at all. */
const CANNOT_COPY: ReadonlySet<unknown> = new Set([
  'EXDEV',
  'EINVAL',
  'ENOSYS',
  'EOPNOTSUPP',
  'ENOTSUP',
  'ETXTBSY',
])

const notCopied = (cause?: unknown): BlockError =>
  new BlockError('ENOTSUP', 'the host cannot copy between these files', { cause })
