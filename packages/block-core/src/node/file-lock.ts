/**
 * Locks that keep QEMU, and other processes of ours, from doing to a file what does not go together: the scheme
 * of `raw_handle_perm_lock` in QEMU's block/file-posix.c. Who takes a permission holds a shared lock on one byte,
 * who does not share it on another, and everybody looks whether there is a lock on the opposite byte. The bytes
 * need not exist, and nothing is written there.
 */
import type { Permissions, PreparedPermissions } from '../driver.ts'
import { BlockError } from '../errors.ts'
import { ALL_PERMISSIONS, PERMISSION } from '../permissions.ts'
import type { HostLocks } from './host-calls.ts'
import { fromHostError } from './host-error.ts'

/** The bytes that are locked for the first permission: by who takes it, and by who does not share it. */
const TAKEN = 100
const UNSHARED = 200

/** As QEMU names them, by their bytes' distance from the first. */
const NAMES = ['consistent read', 'write', 'write unchanged', 'resize'] as const

const NOTHING: Permissions = { taken: 0, shared: ALL_PERMISSIONS }

/** What a host says that has no such locks on this file. */
const UNSUPPORTED: ReadonlySet<unknown> = new Set(['EINVAL', 'ENOLCK', 'ENOSYS', 'ENOTSUP', 'EOPNOTSUPP'])

const namesOf = (bits: number): number[] => NAMES.flatMap((_, index) => (bits & (1 << index) ? [index] : []))

/** Whether this lets others write, too. */
const writesBesideOthers = ({ taken, shared }: Permissions): boolean =>
  (taken & shared & PERMISSION.write) !== 0

const bytesOf = ({ taken, shared }: Permissions): Set<number> =>
  new Set([
    ...namesOf(taken).map((index) => TAKEN + index),
    ...namesOf(~shared).map((index) => UNSHARED + index),
  ])

/** What there is besides the locks of the host. */
export interface OwnLocks {
  /** Locks among processes of ours, for files that the host has none for. */
  readonly locks: HostLocks
  /** Such a file is about to be written to. */
  onWrite?(): void
  /**
   * Makes this thread the only one of the process that writes to a file.
   *
   * @returns what ends that
   * @throws EEXIST where another one does; ENOLCK where that cannot be told
   */
  markWriter?(fd: number): () => void
}

/** How a file is locked. */
export interface FileLockOptions {
  /** For messages. */
  readonly filename: string
  /** `locking=on`: without locks of the host the file is not to be used. */
  readonly required: boolean
  readonly own?: OwnLocks | undefined
}

/** What an open file is locked for. */
export class FileLock {
  /** Undefined where there are none, neither the host's nor our own. */
  #locks: HostLocks | undefined
  readonly #options: FileLockOptions
  #fd: number
  #held: Permissions = NOTHING
  /** The core never knows of a change of length before it comes. */
  #resizes = false
  #endWriter: (() => void) | undefined

  /** @param locks those of the host; undefined: it has none */
  constructor(locks: HostLocks | undefined, fd: number, options: FileLockOptions) {
    this.#locks = locks ?? options.own?.locks
    this.#fd = fd
    this.#options = options
  }

  /**
   * Locks for what is held and what is wanted.
   *
   * @throws BlockError EBUSY, in QEMU's words; ENOTSUP where locks are required and the file system has none
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

  /** @returns whether this file has such locks; where not, others take their place */
  #takeFrom(locks: HostLocks, next: Permissions, added: readonly number[]): boolean {
    const done: number[] = []
    try {
      for (const byte of added) {
        locks.share(this.#fd, byte)
        done.push(byte)
      }
      locks.settle?.(this.#fd)
      this.#requireFree(locks, next)
      return true
    } catch (error) {
      this.#release(done)
      this.#doWithout(error)
      return false
    }
  }

  /**
   * Locks keep threads of a process apart as they do with processes, and let those write beside one another that share
   * everything; within a process they may not.
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

  /** The length of the file is about to be changed. @throws BlockError EBUSY */
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

  /** Locks another descriptor of the file in the same way. Shared locks never exclude each other. */
  copyTo(fd: number): void {
    const locks = this.#locks
    try {
      for (const byte of bytesOf(this.#held)) locks?.share(fd, byte)
      locks?.settle?.(fd)
    } catch (error) {
      this.#doWithout(error)
      this.copyTo(fd)
    }
  }

  /** The descriptor that was given to {@link copyTo} takes the place of the first, which is about to be closed. */
  moveTo(fd: number): void {
    this.forget(this.#fd)
    this.#fd = fd
  }

  /** A descriptor that was given to {@link copyTo} is about to be closed. */
  forget(fd: number): void {
    this.#locks?.forget?.(fd)
  }

  /** The file is about to be closed. */
  end(): void {
    this.forget(this.#fd)
    this.#leaveWriter()
  }

  #requireFree(locks: HostLocks, { taken, shared }: Permissions): void {
    for (const index of namesOf(taken))
      if (locks.isTaken(this.#fd, UNSHARED + index)) throw this.#busy(`"${NAMES[index]}"`)
    for (const index of namesOf(~shared))
      if (locks.isTaken(this.#fd, TAKEN + index)) throw this.#busy(`shared "${NAMES[index]}"`)
  }

  #busy(lock: string): BlockError {
    return new BlockError(
      'EBUSY',
      `Failed to get ${lock} lock\nIs another process using the image [${this.#options.filename}]?`,
    )
  }

  #release(bytes: readonly number[]): void {
    if (bytes.length === 0) return
    // What cannot be given back now goes with the descriptor.
    try {
      for (const byte of bytes) this.#locks?.release(this.#fd, byte)
      this.#locks?.settle?.(this.#fd)
    } catch {}
  }

  /** Where there are no such locks on this file, goes on with others, or without. @throws BlockError */
  #doWithout(error: unknown): void {
    const { filename, required, own } = this.#options
    const code = (error as { code?: unknown }).code
    if (error instanceof BlockError || !UNSUPPORTED.has(code) || required)
      throw fromHostError(error, `Failed to lock '${filename}'`)
    this.#locks = this.#locks === own?.locks ? undefined : own?.locks
  }
}

/**
 * Makes sure that nobody keeps a file from being emptied or made anew, as QEMU does when it creates one.
 *
 * @returns gives the locks back; to be called before the descriptor is closed
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
