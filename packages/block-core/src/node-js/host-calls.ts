/**
 * System calls that plain Node does not have. Every member is optional: if one is absent, the `file` driver
 * does without. {@link systemCalls} has those of this system; others may be passed to `fileDriver`.
 *
 * All offsets and lengths are bytes. A failed call throws or rejects with an error whose `code` is the errno
 * name; `EOPNOTSUPP` and `ENOSYS` mean that this file system does not support the call.
 */

/** The thread that makes a call: the calling one, which blocks, or one of Node's pool. */
export type Where = 'here' | 'pool'

/** The calls. Offsets and lengths are bytes. Asynchronous ones default `where` to `here`. */
export interface HostCalls {
  /** `fallocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)`: frees the range, which then reads as zeroes. */
  punchHole?(fd: number, offset: number, bytes: number, where?: Where): Promise<void>
  /**
   * `fallocate(FALLOC_FL_ZERO_RANGE)`: the range reads as zeroes, stays allocated, and grows the file if
   * needed.
   */
  zeroRange?(fd: number, offset: number, bytes: number, where?: Where): Promise<void>
  /** `fallocate(0)`: allocates the range, growing the file if needed, and keeps its content. */
  allocate?(fd: number, offset: number, bytes: number, where?: Where): Promise<void>
  /** `lseek(SEEK_DATA)`: the offset of the next data at or after `offset`; undefined if there is none. */
  seekData?(fd: number, offset: number, where?: Where): Promise<number | undefined>
  /** `lseek(SEEK_HOLE)`: the offset of the next hole after `offset`, which must hold data. */
  seekHole?(fd: number, offset: number, where?: Where): Promise<number>
  /**
   * `copy_file_range`: copies within the host. @returns the number of bytes copied: possibly fewer than
   * requested, and 0 at the end of the source
   */
  copyRange?(from: FilePosition, to: FilePosition, bytes: number, where?: Where): Promise<number>
  /** `ioctl(BLKDISCARD)`: discards a range of a block device. Whole blocks. */
  discardDevice?(fd: number, offset: number, bytes: number, where?: Where): Promise<void>
  /** `ioctl(FS_IOC_SETFLAGS)`: turns off copy-on-write for an empty file (btrfs). */
  noCopyOnWrite?(fd: number): Promise<void>
  /** Asynchronous requests to the kernel. They block this thread unless the file is open with O_DIRECT. */
  readonly aio?: HostAio | undefined
  /** Locks that other processes see. Present if they belong to the open file description, not the process. */
  readonly locks?: HostLocks | undefined
}

/** An offset in an open file, in bytes. */
export interface FilePosition {
  readonly fd: number
  readonly offset: number
}

/**
 * Locks on single bytes of a file, which need not exist: `F_OFD_SETLK`, `F_OFD_GETLK`. They belong to the
 * open file description: closing another descriptor of the file releases nothing. None of these calls waits.
 */
export interface HostLocks {
  /** Takes a shared lock. @throws EAGAIN if an exclusive one exists; ENOLCK, EINVAL, ... without locks */
  share(fd: number, byte: number): void
  /** Releases a lock, if it is held. */
  release(fd: number, byte: number): void
  /** Whether another open file description has any lock on the byte. */
  isTaken(fd: number, byte: number): boolean
  /** For locks that are not taken and released one by one: applies all changes made for a descriptor. */
  apply?(fd: number): void
  /** For locks that do not end with their descriptor: releases them all. To be called before it is closed. */
  forget?(fd: number): void
}

/** Linux's asynchronous requests: `io_setup`, `io_submit`, `io_getevents`. */
export interface HostAio {
  /** Opens a queue for `slots` requests. @throws EAGAIN, ENOSYS, EPERM, ... if the kernel gives none */
  open(slots: number): HostAioQueue
}

/** Requests by slot, from 0. A slot is prepared, submitted, and free again when its request has ended. */
export interface HostAioQueue {
  /** Describes a request. `memory` must be aligned, not move, and be kept until the request has ended. */
  prepare(slot: number, operation: 'read' | 'write', fd: number, memory: Uint8Array, offset: number): void
  /**
   * Hands prepared requests to the kernel.
   *
   * @returns the number of requests it has taken, from the first on; at least 1
   * @throws the kernel's error for the first: EAGAIN if it takes no more now
   */
  submit(slots: readonly number[]): number
  /** Calls back once requests have ended; one wait at a time. A thread of the pool sleeps meanwhile. */
  wait(woken: () => void): void
  /** Reports each request that has ended since: bytes, or a negative errno. Never waits. */
  reap(ended: (slot: number, result: number) => void): void
  /** The error for a negative result. */
  errorOf(result: number): Error
  /** Releases the kernel's queue. No request may be in the kernel, and no `wait` pending. */
  close(): Promise<void>
}
