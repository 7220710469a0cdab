/** Turns exceptions of browsers into errors of the library. */
import { BlockError, type BlockErrorCode } from '../base/errors.ts'

/**
 * Names of DOMExceptions (Web IDL section 4.3, File System Standard, IndexedDB 3.0) and what they mean for a
 * disk. Others are EIO.
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

/** Codes and words of failures that no retry can change: certificates, invalid URLs, circular redirects. */
const FUTILE =
  /^(CERT_|ERR_TLS_CERT|ERR_SSL|ERR_INVALID_URL|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO_(GET|VERIFY)_)|redirect count|unknown scheme|HTTP\(S\) scheme/i

/** Yields an error, its cause, and so on. */
function* causesOf(error: unknown): Generator<Partial<Error & { code: unknown }>> {
  let at: unknown = error
  for (let depth = 0; typeof at === 'object' && at !== null && depth < 5; depth++) {
    yield at
    // If several addresses of one host failed, the first says enough.
    const { cause, errors } = at as { cause?: unknown; errors?: unknown }
    at = cause ?? (Array.isArray(errors) ? errors[0] : undefined)
  }
}

/** Whether another attempt to connect would fail in the same way. */
export const isFutile = (error: unknown): boolean =>
  [...causesOf(error)].some(({ code, message }) => FUTILE.test(String(code)) || FUTILE.test(message ?? ''))

/** The message of a failed request for `url`, with the messages of all causes. */
export function wordsOf(error: unknown, url: string): string {
  const words = new Set<string>()
  for (const { message, code, name } of causesOf(error)) words.add(message || String(code ?? name ?? ''))
  words.delete('')
  const text = words.size > 0 ? [...words].join(': ') : String(error)
  const { location } = globalThis as { location?: { readonly origin: string } }
  // A browser does not tell a page which of the two happened.
  return location &&
    error instanceof TypeError &&
    URL.canParse(url) &&
    new URL(url).origin !== location.origin
    ? `${text} (the server cannot be reached, or does not allow this page's origin: Access-Control-Allow-Origin)`
    : text
}

/** Turns anything a browser's API threw into a {@link BlockError}: `what: the browser's own words`. */
export function fromWebError(error: unknown, what: string): BlockError {
  if (error instanceof BlockError) return error
  const { name = '', message = String(error) } = (error ?? {}) as Partial<Error>
  return new BlockError(CODES[name] ?? 'EIO', `${what}: ${message || name}`, { cause: error })
}
