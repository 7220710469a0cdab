/** What browsers throw, as the errors of the library. */
import { BlockError, type BlockErrorCode } from '../errors.ts'

/**
 * Names of DOMExceptions (Web IDL section 4.3, File System Standard, IndexedDB 3.0) and what they mean for a disk. What
 * is not here is EIO.
 */
const CODES: Readonly<Record<string, BlockErrorCode>> = {
  AbortError: 'ECANCELED',
  NotAllowedError: 'EACCES',
  NotFoundError: 'ENOENT',
  NoModificationAllowedError: 'EBUSY',
  QuotaExceededError: 'ENOSPC',
  SecurityError: 'EACCES',
  TimeoutError: 'ETIMEDOUT',
  TypeMismatchError: 'EISDIR',
}

/** Turns anything a browser's API threw into a {@link BlockError}: `what: the browser's own words`. */
export function fromWebError(error: unknown, what: string): BlockError {
  if (error instanceof BlockError) return error
  const { name = '', message = String(error) } = (error ?? {}) as Partial<Error>
  return new BlockError(CODES[name] ?? 'EIO', `${what}: ${message || name}`, { cause: error })
}
