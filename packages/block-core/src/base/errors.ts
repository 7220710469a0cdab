/**
 * Every failure the library reports on purpose is a {@link BlockError}: callers branch on `code`, people
 * read `message`, and `cause` keeps the host's own error. The codes are POSIX errno names, because QEMU's
 * tools print errors as errno texts and scripts compare them (see `errno.ts`), plus two of our own.
 */

/** What went wrong, for a program to branch on; includes all errno names that a host may report. */
export type BlockErrorCode =
  | HostErrorCode
  | 'EPERM' // a write to a read-only node
  | 'ENOENT' // no such file, tag or node
  | 'EIO' // the host failed, or the request lies outside the node
  | 'EAGAIN'
  | 'ENOMEM'
  | 'EACCES'
  | 'EBUSY' // the node or file is in use elsewhere
  | 'EEXIST'
  | 'ENOTDIR'
  | 'EISDIR'
  | 'EINVAL' // the request or an option makes no sense
  | 'EMFILE'
  | 'EFBIG' // beyond what a JavaScript number, or the format, can address
  | 'ENOSPC'
  | 'EROFS'
  | 'ERANGE' // a number that its type cannot hold
  | 'ENAMETOOLONG'
  | 'ENOTSUP' // the driver, or this image's feature set, cannot do that
  | 'ENOMEDIUM' // the node is closed
  | 'ECANCELED' // the node crashed while the request was in flight, or the job was cancelled
  | 'EDQUOT'
  | 'ETIMEDOUT'
  | 'EFORMAT' // not an image of this format
  | 'ECORRUPT' // an image of this format that contradicts itself

/** The other errors that hosts report: the rest of Linux's errno, and some that only other systems have. */
// biome-ignore format: a list
export type HostErrorCode =
  | 'ESRCH' | 'EINTR' | 'ENXIO' | 'E2BIG' | 'ENOEXEC' | 'EBADF' | 'ECHILD' | 'EFAULT' | 'ENOTBLK'
  | 'EXDEV' | 'ENODEV' | 'ENFILE' | 'ENOTTY' | 'ETXTBSY' | 'ESPIPE' | 'EMLINK' | 'EPIPE' | 'EDOM'
  | 'EDEADLK' | 'ENOLCK' | 'ENOSYS' | 'ENOTEMPTY' | 'ELOOP' | 'ENOMSG' | 'EIDRM' | 'ECHRNG' | 'EL2NSYNC'
  | 'EL3HLT' | 'EL3RST' | 'ELNRNG' | 'EUNATCH' | 'ENOCSI' | 'EL2HLT' | 'EBADE' | 'EBADR' | 'EXFULL'
  | 'ENOANO' | 'EBADRQC' | 'EBADSLT' | 'EBFONT' | 'ENOSTR' | 'ENODATA' | 'ETIME' | 'ENOSR' | 'ENONET'
  | 'ENOPKG' | 'EREMOTE' | 'ENOLINK' | 'EADV' | 'ESRMNT' | 'ECOMM' | 'EPROTO' | 'EMULTIHOP' | 'EDOTDOT'
  | 'EBADMSG' | 'EOVERFLOW' | 'ENOTUNIQ' | 'EBADFD' | 'EREMCHG' | 'ELIBACC' | 'ELIBBAD' | 'ELIBSCN'
  | 'ELIBMAX' | 'ELIBEXEC' | 'EILSEQ' | 'ERESTART' | 'ESTRPIPE' | 'EUSERS' | 'ENOTSOCK' | 'EDESTADDRREQ'
  | 'EMSGSIZE' | 'EPROTOTYPE' | 'ENOPROTOOPT' | 'EPROTONOSUPPORT' | 'ESOCKTNOSUPPORT' | 'EPFNOSUPPORT'
  | 'EAFNOSUPPORT' | 'EADDRINUSE' | 'EADDRNOTAVAIL' | 'ENETDOWN' | 'ENETUNREACH' | 'ENETRESET'
  | 'ECONNABORTED' | 'ECONNRESET' | 'ENOBUFS' | 'EISCONN' | 'ENOTCONN' | 'ESHUTDOWN' | 'ETOOMANYREFS'
  | 'ECONNREFUSED' | 'EHOSTDOWN' | 'EHOSTUNREACH' | 'EALREADY' | 'EINPROGRESS' | 'ESTALE' | 'EUCLEAN'
  | 'ENOTNAM' | 'ENAVAIL' | 'EISNAM' | 'EREMOTEIO' | 'EMEDIUMTYPE' | 'ENOKEY' | 'EKEYEXPIRED'
  | 'EKEYREVOKED' | 'EKEYREJECTED' | 'EOWNERDEAD' | 'ENOTRECOVERABLE' | 'ERFKILL' | 'EFTYPE'

/** Where a {@link BlockError} happened. */
export interface BlockErrorDetail {
  /** Node name, so that a chain of nodes says which one failed. */
  readonly node?: string | undefined
  /** Bytes: a guest offset for requests, a host offset for metadata. */
  readonly offset?: number | undefined
  /** The host's own error. */
  readonly cause?: unknown
  /** How to fix it: a sentence that programs print on a line of its own (QEMU's error_append_hint). */
  readonly hint?: string
}

/** Marks errors, so that copies of the library (ES modules, the CommonJS build) recognize each other's. */
const BRAND = Symbol.for('vmblock.BlockError')

/** The one error class of the library. `instanceof` holds for errors of every copy of it. */
export class BlockError extends Error {
  override readonly name = 'BlockError'
  readonly code: BlockErrorCode
  readonly node: string | undefined
  /** Bytes from the start of the node, as far as known. */
  readonly offset: number | undefined
  readonly hint: string | undefined

  constructor(code: BlockErrorCode, message: string, detail: BlockErrorDetail = {}) {
    super(message, detail.cause === undefined ? undefined : { cause: detail.cause })
    this.code = code
    this.node = detail.node
    this.offset = detail.offset
    this.hint = detail.hint
    Object.defineProperty(this, BRAND, { value: true })
  }

  static override [Symbol.hasInstance](value: unknown): boolean {
    // Classes that extend this one inherit the method, and mean their own instances.
    // biome-ignore lint/complexity/noThisInStatic: which class is asked about is the question
    if (this !== BlockError) return super[Symbol.hasInstance](value)
    return isBlockError(value)
  }
}

/** Whether `error` is a {@link BlockError} (with the given code, if any), from any copy of the library. */
export const isBlockError = (error: unknown, code?: BlockErrorCode): error is BlockError =>
  typeof error === 'object' &&
  error !== null &&
  BRAND in error &&
  (code === undefined || (error as unknown as BlockError).code === code)

/** The message of any thrown value. */
export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))

/**
 * A thrown value as a {@link BlockError}: itself, or `what` with the value's own code, if it has one, and its message.
 * Drivers for files of a host use `fromHostError`, which has the C library's words.
 */
export function blockErrorOf(error: unknown, what: string, node?: string): BlockError {
  if (isBlockError(error)) return error
  const code = String((error as { code?: unknown } | undefined)?.code)
  return new BlockError(
    /^E[A-Z0-9]+$/.test(code) ? (code as BlockErrorCode) : 'EIO',
    `${what}: ${messageOf(error)}`,
    { node, cause: error },
  )
}
