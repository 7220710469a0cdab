/** `file:` URLs as paths: like `fileURLToPath`, but with BlockErrors and the platform of the moment. */
import { BlockError } from '../base/errors.ts'

/**
 * Returns the path of a `file:` URL, with percent-escapes decoded.
 *
 * @returns undefined for URLs of other protocols
 * @throws BlockError EINVAL for a `file:` URL that names another machine (on Windows, a share is allowed) or
 * an impossible path
 */
export function pathOfUrl({ protocol, host, pathname, href }: URL): string | undefined {
  if (protocol !== 'file:') return undefined
  const refuse = (why: string): BlockError => new BlockError('EINVAL', `'${href}' ${why}`)
  const isWindows = process.platform === 'win32'
  let path: string
  try {
    path = decodeURIComponent(pathname)
  } catch {
    throw refuse('has escapes that are no UTF-8')
  }
  if (/%2f|%00/i.test(pathname) || (isWindows && /%5c/i.test(pathname))) throw refuse('is no path of a file')
  if (!isWindows) {
    if (host !== '') throw refuse('is a file of another machine')
    return path
  }
  const name = path.replaceAll('/', '\\')
  if (host !== '') return `\\\\${host}${name}`
  if (!/^\\[a-z]:/i.test(name)) throw refuse('names no drive')
  return name.slice(1)
}
