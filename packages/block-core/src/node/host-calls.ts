/**
 * System calls that plain Node does not have. Every member is optional: where one is absent the `file` driver
 * does without. {@link systemCalls} has those of this system; others may be given to `fileDriver`.
 *
 * All offsets and lengths are bytes. What fails is thrown, or rejected with, an error whose `code` is the errno
 * name; `EOPNOTSUPP` and `ENOSYS` mean that this file system cannot do it.
 */

/** Which thread makes a call: the one that asks, which waits, or one of Node's pool. */
export type Where = 'here' | 'pool'

/** The calls. Those that give a promise take an absent `where` for `here`. */
export interface HostCalls {
  /** `fallocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)`: frees the range, which then reads as zeroes. */
  punchHole?(fd: number, offset: number, bytes: number, where?: Where): Promise<void>
  /** `fallocate(FALLOC_FL_ZERO_RANGE)`: the range reads as zeroes and stays allocated; grows the file if need be. */
  zeroRange?(fd: number, offset: number, bytes: number, where?: Where): Promise<void>
  /** `fallocate(0)`: allocates the range, growing the file if need be, and keeps its content. */
  allocate?(fd: number, offset: number, bytes: number, where?: Where): Promise<void>
  /** `lseek(SEEK_DATA)`: where the next data at or after `offset` begins; undefined when there is none. */
  seekData?(fd: number, offset: number, where?: Where): Promise<number | undefined>
  /** `lseek(SEEK_HOLE)`: where the next hole at or after `offset`, which must hold data, begins. */
  seekHole?(fd: number, offset: number, where?: Where): Promise<number>
  /**
   * `copy_file_range`: copies inside the host. @returns how many bytes were copied: fewer than asked for, and 0
   * at the end of the file that is read
   */
  copyRange?(from: FilePlace, to: FilePlace, bytes: number, where?: Where): Promise<number>
  /** `ioctl(BLKDISCARD)`: gives up the content of a part of a block device. Whole blocks. */
  discardDevice?(fd: number, offset: number, bytes: number, where?: Where): Promise<void>
  /** `ioctl(FS_IOC_SETFLAGS)`: from now on what is written to an empty file is written in place (btrfs). */
  noCopyOnWrite?(fd: number): Promise<void>
  /** Requests that the kernel carries out while this thread goes on. Only with O_DIRECT do they not wait. */
  readonly aio?: HostAio | undefined
  /** Locks of other processes see these. Present where they belong to the open file, not to the process. */
  readonly locks?: HostLocks | undefined
}

/** A place in an open file. */
export interface FilePlace {
  readonly fd: number
  readonly offset: number
}

/**
 * Locks on single bytes of a file, that need not exist: `F_OFD_SETLK`, `F_OFD_GETLK`. They belong to the open
 * file description: closing another descriptor of the file releases nothing. Nothing here waits.
 */
export interface HostLocks {
  /** Takes a shared lock. @throws EAGAIN where somebody has an exclusive one; ENOLCK, EINVAL, ... where there are none */
  share(fd: number, byte: number): void
  /** Gives a lock back, or does nothing. */
  release(fd: number, byte: number): void
  /** Whether somebody else has any lock on the byte. */
  isTaken(fd: number, byte: number): boolean
  /** Where locks are not taken and given back one by one: makes everything true that was asked for of a descriptor. */
  settle?(fd: number): void
  /** Where locks do not go with their descriptor: gives them all back. To be called before it is closed. */
  forget?(fd: number): void
}

/** Linux's asynchronous requests: `io_setup`, `io_submit`, `io_getevents`. */
export interface HostAio {
  /** Opens a queue for so many requests. @throws EAGAIN, ENOSYS, EPERM, ... where there is none to be had */
  open(slots: number): HostAioQueue
}

/** Requests by slot: from 0, as many as were asked for. A slot is prepared, submitted, and free when it has ended. */
export interface HostAioQueue {
  /** Describes a request. `memory` must be aligned, may not move, and is to be kept until the request has ended. */
  prepare(slot: number, operation: 'read' | 'write', fd: number, memory: Uint8Array, offset: number): void
  /**
   * Hands prepared requests to the kernel.
   *
   * @returns how many of them it has taken, from the first; at least 1
   * @throws what the kernel says of the first: EAGAIN where it takes no more now
   */
  submit(slots: readonly number[]): number
  /** Calls back once submitted requests have ended; at most one may wait. A thread of the pool sleeps meanwhile. */
  wait(woken: () => void): void
  /** Tells of each request that has ended since: bytes, or a negative errno. Never waits. */
  reap(ended: (slot: number, result: number) => void): void
  /** What a negative result means. */
  errorOf(result: number): Error
  /** Gives back what it took of the system. Nothing may be in the kernel, and nobody wait. */
  close(): Promise<void>
}
