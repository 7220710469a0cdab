/**
 * System calls that plain Node does not have. Today nothing provides them: every member is optional, and the
 * `file` driver does without. A library that can make them (through FFI) may hand them to `fileDriver`.
 *
 * Each rejects with an error whose `code` is the errno name; `EOPNOTSUPP` and `ENOSYS` mean that
 * this file system cannot do it. All offsets and lengths are bytes.
 */
export interface HostCalls {
  /** `fallocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)`: frees the range, which then reads as zeroes. */
  punchHole?(fd: number, offset: number, bytes: number): Promise<void>
  /** `fallocate(FALLOC_FL_ZERO_RANGE)`: the range reads as zeroes and stays allocated; grows the file if need be. */
  zeroRange?(fd: number, offset: number, bytes: number): Promise<void>
  /** `fallocate(0)`: allocates the range, growing the file if need be, and keeps its content. */
  allocate?(fd: number, offset: number, bytes: number): Promise<void>
  /** `lseek(SEEK_DATA)`: where the next data at or after `offset` begins; undefined when there is none. */
  seekData?(fd: number, offset: number): Promise<number | undefined>
  /** `lseek(SEEK_HOLE)`: where the next hole at or after `offset`, which must hold data, begins. */
  seekHole?(fd: number, offset: number): Promise<number>
}
