/** File names that name other files: which are relative, and to what. Pure, and as QEMU's block.c has it. */
import { BlockError } from './errors.ts'
import { protocolOf } from './filename.ts'

/**
 * A name as seen from the place that another one names: the directory of `base`, with its protocol prefix, and
 * `name` behind it. Absolute names stay. QEMU's `path_combine`.
 */
export function combinePaths(base: string, name: string): string {
  if (name.startsWith('/')) return name
  const protocol = protocolOf(base)
  const afterProtocol = protocol === undefined ? 0 : protocol.length + 1
  return base.slice(0, Math.max(base.lastIndexOf('/') + 1, afterProtocol)) + name
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
  if (protocolOf(name) !== undefined || name.startsWith('/')) return name
  if (parent === '' || parent.startsWith('json:'))
    throw new BlockError('EINVAL', `Cannot use relative backing file names for '${parent}'`)
  return combinePaths(parent, name)
}
