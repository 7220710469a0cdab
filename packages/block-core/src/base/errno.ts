/**
 * Error codes as Linux numbers them and as the C library words them: blkdebug takes numbers, QEMU's tools
 * print the words.
 */
import { BlockError, type BlockErrorCode, isBlockError } from './errors.ts'

// biome-ignore format: a table
const TABLE: readonly ErrnoRow[] = [
  ['EPERM',         1, 'Operation not permitted'],
  ['ENOENT',        2, 'No such file or directory'],
  ['EIO',           5, 'Input/output error'],
  ['EAGAIN',       11, 'Resource temporarily unavailable'],
  ['ENOMEM',       12, 'Cannot allocate memory'],
  ['EACCES',       13, 'Permission denied'],
  ['EBUSY',        16, 'Device or resource busy'],
  ['EEXIST',       17, 'File exists'],
  ['ENOTDIR',      20, 'Not a directory'],
  ['EISDIR',       21, 'Is a directory'],
  ['EINVAL',       22, 'Invalid argument'],
  ['EMFILE',       24, 'Too many open files'],
  ['EFBIG',        27, 'File too large'],
  ['ENOSPC',       28, 'No space left on device'],
  ['EROFS',        30, 'Read-only file system'],
  ['ERANGE',       34, 'Numerical result out of range'],
  ['ENAMETOOLONG', 36, 'File name too long'],
  ['ENOTSUP',      95, 'Operation not supported'],
  ['ETIMEDOUT',   110, 'Connection timed out'],
  ['EDQUOT',      122, 'Disk quota exceeded'],
  ['ENOMEDIUM',   123, 'No medium found'],
  ['ECANCELED',   125, 'Operation canceled'],
  // QEMU reports both of these with an errno of its own choice (block/qcow2.c).
  ['EFORMAT',      22, 'Invalid argument'],
  ['ECORRUPT',      5, 'Input/output error'],
]

const byCode = new Map<string, ErrnoRow>(TABLE.map((row) => [row[0], row]))
const byNumber = new Map<number, ErrnoRow>([...TABLE].reverse().map((row) => [row[1], row]))

/** One errno: its code, Linux's number (0 or less if Linux has none) and the C library's words. */
export type ErrnoRow = readonly [code: BlockErrorCode, errno: number, text: string]

/** Adds the errors that only an operating system reports. Web pages do without the longer table. */
export function learnErrnos(rows: readonly ErrnoRow[]): void {
  for (const row of rows) {
    byCode.set(row[0], row)
    if (row[1] > 0 && !byNumber.has(row[1])) byNumber.set(row[1], row)
  }
}

/** The C library's words for a code, as `strerror()` gives them. */
export const strerror = (code: BlockErrorCode): string => byCode.get(code)?.[2] ?? 'Unknown error'

/** Linux's number for a code. */
export const errnoOf = (code: BlockErrorCode): number => byCode.get(code)?.[1] ?? 5

/** The code for a Linux errno number; unknown numbers become EIO. */
export const codeOfErrno = (errno: number): BlockErrorCode => byNumber.get(errno)?.[0] ?? 'EIO'

/** Whether a host's error code (`'ENOSPC'`, ...) is one that we know. */
const isKnownCode = (code: unknown): code is BlockErrorCode => typeof code === 'string' && byCode.has(code)

/**
 * A thrown value in the C library's words: the text of the code for a {@link BlockError} or a Node.js
 * system error, else the message.
 */
export function errorText(error: unknown): string {
  if (error instanceof BlockError) return strerror(error.code)
  const code = (error as { code?: unknown } | undefined)?.code
  if (isKnownCode(code)) return strerror(code)
  return error instanceof Error ? error.message : String(error)
}

/** Turns anything a host API threw into a {@link BlockError} with the host's error as its cause. */
export function fromHostError(error: unknown, what: string, node?: string): BlockError {
  if (error instanceof BlockError) return error
  const raw = (error as { code?: unknown } | undefined)?.code
  const known = raw === 'EOPNOTSUPP' ? 'ENOTSUP' : isKnownCode(raw) ? raw : 'EIO'
  // To callers, a system call that does not exist is an operation that is not supported.
  const code = (raw as string) === 'ENOSYS' ? 'ENOTSUP' : known
  return new BlockError(code, `${what}: ${strerror(raw === 'ENOSYS' && isKnownCode(raw) ? raw : code)}`, {
    node,
    cause: error,
  })
}

/**
 * Wraps a thrown value in a message that names what failed: `what: words of the C library`; same code.
 *
 * @param offset where it failed, in bytes
 */
export function failureOf(what: string, cause: unknown, offset?: number): BlockError {
  const code = isBlockError(cause) ? cause.code : fromHostError(cause, what).code
  const node = isBlockError(cause) ? cause.node : undefined
  return new BlockError(code, `${what}: ${errorText(cause)}`, { node, offset, cause })
}
