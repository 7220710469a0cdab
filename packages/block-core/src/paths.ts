/**
 * File names that name other files: which are relative, and to what. Pure, and as QEMU's block.c has it: on Windows drive letters are
 * no protocols, and both slashes separate directories.
 */
import { BlockError } from './errors.ts'

/** Asked each time: a program that is tried as on Windows says so when it runs. Browsers have no `process`. */
const isWindows = (): boolean =>
  (globalThis as { readonly process?: { readonly platform?: string } }).process?.platform === 'win32'

/** `C:`, also before a name that is relative to the directory of that drive. */
const DRIVE = /^[a-z]:/i

/**
 * The protocol prefix of a file name, without its colon: what stands before a colon that comes before any
 * slash. QEMU's `path_has_protocol`.
 */
export function protocolOf(filename: string): string | undefined {
  if (isWindows()) return DRIVE.test(filename) ? undefined : /^([^:/\\]*):/.exec(filename)?.[1]
  return /^([^:/]*):/.exec(filename)?.[1]
}

/** Whether a path is relative to no directory. On Windows `c:x` counts as such, as in QEMU. */
export const isAbsolutePath = (path: string): boolean =>
  path.startsWith('/') || (isWindows() && (path.startsWith('\\') || DRIVE.test(path)))

/** The name of a path: what begins like a protocol is told apart by `./` before it. */
export const pathName = (path: string): string => (protocolOf(path) === undefined ? path : `./${path}`)

/**
 * A name as seen from the place that another one names: the directory of `base`, with its protocol prefix, and
 * `name` behind it. Absolute names stay. QEMU's `path_combine`.
 */
export function combinePaths(base: string, name: string): string {
  if (isAbsolutePath(name)) return name
  const protocol = protocolOf(base)
  const afterProtocol = protocol === undefined ? 0 : protocol.length + 1
  const slash = Math.max(base.lastIndexOf('/'), isWindows() ? base.lastIndexOf('\\') : -1)
  return base.slice(0, Math.max(slash + 1, afterProtocol)) + name
}

/**
 * The full name of a backing file, from what a header says of it: relative names are relative to the image that
 * holds them; those that are absolute, or have a protocol, stay. QEMU's `bdrv_get_full_backing_filename_from_filename`.
 *
 * @param parent file name of the image whose header holds `name`
 * @returns undefined for an empty name: no backing file
 * @throws BlockError EINVAL for a relative name in an image that has no name to be relative to
 */
export function resolveBackingFilename(parent: string, name: string): string | undefined {
  if (name === '') return undefined
  if (protocolOf(name) !== undefined || isAbsolutePath(name)) return name
  if (parent === '' || parent.startsWith('json:'))
    throw new BlockError('EINVAL', `Cannot use relative backing file names for '${parent}'`)
  return combinePaths(parent, name)
}
