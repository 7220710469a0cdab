/**
 * File names in images that refer to other files: which are relative, and to what. Pure functions with the
 * rules of QEMU's block.c: on Windows drive letters are not protocols, and both slashes separate directories.
 */
import { BlockError } from '../base/errors.ts'

/** Checked on each call, because tests change the platform at run time. Browsers have no `process`. */
const isWindows = (): boolean =>
  (globalThis as { readonly process?: { readonly platform?: string } }).process?.platform === 'win32'

/** `C:`, also before a name relative to the current directory of that drive. */
const DRIVE = /^[a-z]:/i

/**
 * The protocol prefix of a file name, without its colon: the text before the first colon, if no slash
 * precedes it. QEMU's `path_has_protocol`.
 */
export function protocolOf(filename: string): string | undefined {
  if (isWindows()) return DRIVE.test(filename) ? undefined : /^([^:/\\]*):/.exec(filename)?.[1]
  return /^([^:/]*):/.exec(filename)?.[1]
}

/** Whether a path is absolute. On Windows `c:x` counts as absolute, as in QEMU. */
export const isAbsolutePath = (path: string): boolean =>
  path.startsWith('/') || (isWindows() && (path.startsWith('\\') || DRIVE.test(path)))

/** The file name for a path: a path that begins like a protocol gets `./` before it. */
export const pathName = (path: string): string => (protocolOf(path) === undefined ? path : `./${path}`)

/**
 * Resolves a name relative to another one: the directory of `base`, with its protocol prefix, followed by
 * `name`. Absolute names stay unchanged. QEMU's `path_combine`.
 */
export function combinePaths(base: string, name: string): string {
  if (isAbsolutePath(name)) return name
  const protocol = protocolOf(base)
  const afterProtocol = protocol === undefined ? 0 : protocol.length + 1
  const slash = Math.max(base.lastIndexOf('/'), isWindows() ? base.lastIndexOf('\\') : -1)
  return base.slice(0, Math.max(slash + 1, afterProtocol)) + name
}

/**
 * The full name of a backing file, from the name in a header: relative names are relative to the image that
 * holds them; names that are absolute, or have a protocol, stay unchanged. QEMU's
 * `bdrv_get_full_backing_filename_from_filename`.
 *
 * @param parent file name of the image whose header holds `name`
 * @returns undefined for an empty name: no backing file
 * @throws BlockError EINVAL for a relative name in an image that itself has no file name
 */
export function resolveBackingFilename(parent: string, name: string): string | undefined {
  if (name === '') return undefined
  if (protocolOf(name) !== undefined || isAbsolutePath(name)) return name
  if (parent === '' || parent.startsWith('json:'))
    throw new BlockError('EINVAL', `Cannot use relative backing file names for '${parent}'`)
  return combinePaths(parent, name)
}
