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

const bytesOf = ({ taken, shared }: Permissions): Set<number> =>
  new Set([
    ...namesOf(taken).map((index) => TAKEN + index),
    ...namesOf(~shared).map((index) => UNSHARED + index),
  ])

/** What an open file is locked for. */
export class FileLock {
  readonly #locks: HostLocks
  readonly #filename: string
  /** `locking=on`: without locks the file is not to be used. */
  readonly #required: boolean
  #fd: number
  #held: Permissions = NOTHING
  /** The core never knows of a change of length before it comes. */
  #resizes = false
  #absent = false

  constructor(
    locks: HostLocks,
    fd: number,
    { filename, required }: { readonly filename: string; readonly required: boolean },
  ) {
    this.#locks = locks
    this.#fd = fd
    this.#filename = filename
    this.#required = required
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
    const done: number[] = []
    try {
      if (added.length > 0 && !this.#absent) {
        for (const byte of added) {
          this.#locks.share(this.#fd, byte)
          done.push(byte)
        }
        this.#requireFree(next)
      }
    } catch (error) {
      this.#release(done)
      this.#refuse(error)
    }
    return {
      commit: () => {
        this.#held = next
        this.#release([...before].filter((byte) => !after.has(byte)))
      },
      abort: () => this.#release(added),
    }
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
    try {
      if (!this.#absent) for (const byte of bytesOf(this.#held)) this.#locks.share(fd, byte)
    } catch (error) {
      this.#refuse(error)
    }
  }

  /** The descriptor that was given to {@link copyTo} takes the place of the first, which is closed. */
  moveTo(fd: number): void {
    this.#fd = fd
  }

  #requireFree({ taken, shared }: Permissions): void {
    for (const index of namesOf(taken))
      if (this.#locks.isTaken(this.#fd, UNSHARED + index)) throw this.#busy(`"${NAMES[index]}"`)
    for (const index of namesOf(~shared))
      if (this.#locks.isTaken(this.#fd, TAKEN + index)) throw this.#busy(`shared "${NAMES[index]}"`)
  }

  #busy(lock: string): BlockError {
    return new BlockError(
      'EBUSY',
      `Failed to get ${lock} lock\nIs another process using the image [${this.#filename}]?`,
    )
  }

  #release(bytes: readonly number[]): void {
    if (this.#absent) return
    // What cannot be given back now goes with the descriptor.
    try {
      for (const byte of bytes) this.#locks.release(this.#fd, byte)
    } catch {}
  }

  #refuse(error: unknown): void {
    const code = (error as { code?: unknown }).code
    if (error instanceof BlockError || !UNSUPPORTED.has(code) || this.#required)
      throw fromHostError(error, `Failed to lock '${this.#filename}'`)
    this.#absent = true
  }
}

/**
 * Makes sure that nobody keeps a file from being emptied or made anew, as QEMU does when it creates one. The
 * locks go with the descriptor.
 *
 * @throws BlockError EBUSY
 */
export function lockForCreation(locks: HostLocks, fd: number, filename: string): void {
  const { write, resize } = PERMISSION
  new FileLock(locks, fd, { filename, required: false })
    .prepare({ taken: write | resize, shared: ALL_PERMISSIONS & ~resize })
    .commit()
}
