/**
 * Locks that prevent conflicting use of a file by QEMU and other processes of vmblock: the scheme of
 * `raw_handle_perm_lock` in QEMU's block/file-posix.c. For each permission, a process that takes it holds a
 * shared lock on one byte, and a process that does not share it on another; each checks the opposite byte for
 * locks. The bytes need not exist, and nothing is written there.
 */

import { BlockError } from '../base/errors.ts'
import type { Permissions, PreparedPermissions } from '../contract/permissions.ts'
import { ALL_PERMISSIONS, PERMISSION, PERMISSION_NAMES } from '../contract/permissions.ts'
import type { HostLocks } from './host-calls.ts'
import { fromHostError } from './host-error.ts'

/** The bytes locked for the first permission: when it is taken, and when it is not shared. */
const TAKEN = 100
const UNSHARED = 200

/** Errors that mean: the host has no such locks for this file. */
const UNSUPPORTED: ReadonlySet<unknown> = new Set(['EINVAL', 'ENOLCK', 'ENOSYS', 'ENOTSUP', 'EOPNOTSUPP'])

const NOTHING: Permissions = { taken: 0, shared: ALL_PERMISSIONS }

/** The permissions in `bits`, by the distance of their bytes from the first. */
const indexesOf = (bits: number): number[] =>
  PERMISSION_NAMES.flatMap((_, index) => (bits & (1 << index) ? [index] : []))

/** Whether these permissions write, and let others write too. */
const writesBesideOthers = ({ taken, shared }: Permissions): boolean =>
  (taken & shared & PERMISSION.write) !== 0

const bytesOf = ({ taken, shared }: Permissions): Set<number> =>
  new Set([
    ...indexesOf(taken).map((index) => TAKEN + index),
    ...indexesOf(~shared).map((index) => UNSHARED + index),
  ])

/** Locks used in place of, or in addition to, those of the host. */
export interface OwnLocks {
  /** Locks among processes of vmblock, for files that the host cannot lock. */
  readonly locks: HostLocks
  /** Called when a file without the host's locks is about to be written to. */
  onWrite?(): void
  /**
   * Makes this thread the only writer of a file in the process.
   *
   * @returns a function that ends that
   * @throws EEXIST if another thread writes to it; ENOLCK if that cannot be found out
   */
  markWriter?(fd: number): () => void
}

/** How a file is locked. */
export interface FileLockOptions {
  /** The name of the file, for messages. */
  readonly filename: string
  /** `locking=on`: the file may not be used without locks of the host. */
  readonly required: boolean
  readonly own?: OwnLocks | undefined
}

/** The locks of one open file. */
export class FileLock {
  /** Undefined if there are none, neither the host's nor our own. */
  #locks: HostLocks | undefined
  readonly #options: FileLockOptions
  #fd: number
  #held: Permissions = NOTHING
  /** Set by {@link prepareResize}: the core does not take this permission in advance. */
  #resizes = false
  #endWriter: (() => void) | undefined

  /** @param locks those of the host, if it has any */
  constructor(locks: HostLocks | undefined, fd: number, options: FileLockOptions) {
    this.#locks = locks ?? options.own?.locks
    this.#fd = fd
    this.#options = options
  }

  /**
   * Takes the locks for `wanted`, in addition to those held.
   *
   * @throws BlockError EBUSY, in QEMU's words; the host's error if locks are required and the file system has
   * none
   */
  prepare(wanted: Permissions): PreparedPermissions {
    const next = this.#resizes ? { ...wanted, taken: wanted.taken | PERMISSION.resize } : wanted
    const [before, after] = [bytesOf(this.#held), bytesOf(next)]
    const added = [...after].filter((byte) => !before.has(byte))
    const endWriter = this.#becomeWriter(next)
    try {
      this.#take(next, added)
    } catch (error) {
      endWriter?.()
      throw error
    }
    return {
      commit: () => {
        this.#held = next
        if (endWriter) this.#endWriter = endWriter
        else if (!writesBesideOthers(next)) this.#leaveWriter()
        this.#release([...before].filter((byte) => !after.has(byte)))
      },
      abort: () => {
        endWriter?.()
        this.#release(added)
      },
    }
  }

  #take(next: Permissions, added: readonly number[]): void {
    if (added.length === 0) return
    while (this.#locks && !this.#takeFrom(this.#locks, next, added));
    const { own } = this.#options
    const isHosts = this.#locks !== undefined && this.#locks !== own?.locks
    if (!isHosts && next.taken & PERMISSION.write) own?.onWrite?.()
  }

  /** @returns whether this file has such locks; if not, `#doWithout` has replaced them */
  #takeFrom(locks: HostLocks, next: Permissions, added: readonly number[]): boolean {
    const done: number[] = []
    try {
      for (const byte of added) {
        locks.share(this.#fd, byte)
        done.push(byte)
      }
      locks.apply?.(this.#fd)
      this.#requireFree(locks, next)
      return true
    } catch (error) {
      this.#release(done)
      this.#doWithout(error)
      return false
    }
  }

  /**
   * Marks this thread as the writer if needed. The locks treat threads like processes, and let writers that
   * share everything write side by side; within one process that is not allowed.
   */
  #becomeWriter(next: Permissions): (() => void) | undefined {
    if (this.#endWriter || !writesBesideOthers(next)) return undefined
    try {
      return this.#options.own?.markWriter?.(this.#fd)
    } catch (error) {
      if ((error as { code?: unknown }).code === 'EEXIST') throw this.#busy('"write"')
      return undefined
    }
  }

  #leaveWriter(): void {
    this.#endWriter?.()
    this.#endWriter = undefined
  }

  /** Takes the lock for changing the length of the file. @throws BlockError EBUSY */
  prepareResize(): void {
    if (this.#resizes) return
    this.#resizes = true
    try {
      this.prepare(this.#held).commit()
    } catch (error) {
      this.#resizes = false
      throw error
    }
  }

  /** Takes the same locks on another descriptor of the file. Shared locks never exclude each other. */
  copyTo(fd: number): void {
    const locks = this.#locks
    try {
      for (const byte of bytesOf(this.#held)) locks?.share(fd, byte)
      locks?.apply?.(fd)
    } catch (error) {
      this.#doWithout(error)
      this.copyTo(fd)
    }
  }

  /** Replaces the descriptor by the one passed to {@link copyTo}; the old one is about to be closed. */
  moveTo(fd: number): void {
    this.forget(this.#fd)
    this.#fd = fd
  }

  /** Releases the locks of a descriptor that was passed to {@link copyTo}, which is about to be closed. */
  forget(fd: number): void {
    this.#locks?.forget?.(fd)
  }

  /** Releases everything: the file is about to be closed. */
  end(): void {
    this.forget(this.#fd)
    this.#leaveWriter()
  }

  #requireFree(locks: HostLocks, { taken, shared }: Permissions): void {
    for (const index of indexesOf(taken))
      if (locks.isTaken(this.#fd, UNSHARED + index)) throw this.#busy(`"${PERMISSION_NAMES[index]}"`)
    for (const index of indexesOf(~shared))
      if (locks.isTaken(this.#fd, TAKEN + index)) throw this.#busy(`shared "${PERMISSION_NAMES[index]}"`)
  }

  #busy(lock: string): BlockError {
    return new BlockError(
      'EBUSY',
      `Failed to get ${lock} lock\nIs another process using the image [${this.#options.filename}]?`,
    )
  }

  #release(bytes: readonly number[]): void {
    if (bytes.length === 0) return
    // A lock that cannot be released now ends with the descriptor.
    try {
      for (const byte of bytes) this.#locks?.release(this.#fd, byte)
      this.#locks?.apply?.(this.#fd)
    } catch {}
  }

  /** If this file has no such locks, switches to the own ones, or to none. @throws BlockError */
  #doWithout(error: unknown): void {
    const { filename, required, own } = this.#options
    const code = (error as { code?: unknown }).code
    if (error instanceof BlockError || !UNSUPPORTED.has(code) || required)
      throw fromHostError(error, `Failed to lock '${filename}'`)
    this.#locks = this.#locks === own?.locks ? undefined : own?.locks
  }
}

/**
 * Locks a file against other users while it is emptied and made anew, as QEMU does when it creates one.
 *
 * @returns a function that releases the locks; to be called before the descriptor is closed
 * @throws BlockError EBUSY
 */
export function lockForCreation(
  locks: HostLocks | undefined,
  fd: number,
  options: Omit<FileLockOptions, 'required'>,
): () => void {
  const { write, resize } = PERMISSION
  const lock = new FileLock(locks, fd, { ...options, required: false })
  lock.prepare({ taken: write | resize, shared: ALL_PERMISSIONS & ~resize }).commit()
  return () => lock.end()
}
