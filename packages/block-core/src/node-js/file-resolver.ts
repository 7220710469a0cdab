/**
 * Decides which files images may open on this host. By default every file they name, as in QEMU's programs:
 * for programs whose user may open any file anyway. Options restrict this: to nothing, to one role, or to one
 * directory.
 */
import { dirname, isAbsolute, relative, resolve, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expects, oneOfWords, requireOptions } from '../base/arguments.ts'
import { BlockError } from '../base/errors.ts'
import type { ChildReference } from '../contract/driver-facts.ts'
import type { ImageResolver } from '../contract/image-resolver.ts'
import type { RawOptions } from '../text/options.ts'
import { isAbsolutePath, pathName, protocolOf, resolveBackingFilename } from '../text/paths.ts'
import { fromHostError } from './host-error.ts'
import { realpath } from './host-fs.ts'
import { isWindowsDevice, namedFile, rootOf } from './named-file.ts'

/** Which files {@link nodeHost} lets images open. */
export interface NodeHostOptions {
  /**
   * Which files images may name: `all` (default), `none`, or those of one role. Files that the application
   * itself names in the options of a node are not restricted.
   */
  readonly allow?: 'all' | 'none' | 'backing' | 'data-file'
  /**
   * Only regular files in this directory, or below it, may be opened. A name is a path, `file:` and a path,
   * or a `json:{...}` with nothing but a path and a format; in all three a relative path is relative to the
   * image that holds the name. Other names are refused. `..` and symbolic links are resolved before a name is
   * checked, and the path that was checked is the one that is opened. This cannot stop users who can rename
   * directories on that path between the check and the opening, or who can make hard links: give such users a
   * directory of their own.
   */
  readonly directory?: string | URL
}

/**
 * Makes an `ImageResolver` that opens the files that images name.
 *
 * A backing file may be any node: relative to the directory of the image that names it, absolute, with a
 * protocol, or `json:{...}`. The name of a data file is always that of a file, since a writer of the image
 * could otherwise name anything the program can reach; a relative one is relative to the working directory,
 * as in QEMU. An extent is a file, too, relative to the image that names it.
 *
 * @throws BlockError EINVAL for unknown options; TypeError for a directory URL that is not a path on this
 * host
 */
export function nodeHost(options: NodeHostOptions = {}): ImageResolver {
  // Unknown options are refused: a misspelled one would let images open everything.
  requireOptions(options, 'options', {
    allow: oneOfWords('all', 'none', 'backing', 'data-file'),
    directory: expects('a path, or a URL', (value) => typeof value === 'string' || value instanceof URL),
  })
  const { allow = 'all', directory } = options
  const home = directory instanceof URL ? fileURLToPath(directory) : directory
  return {
    async resolve(reference, parent, role) {
      if (allow !== 'all' && allow !== role) throw refused(reference, `${roleText(role)} is not allowed`)
      if (home !== undefined) return confined(reference, parent, role, home)
      return role === 'data-file' ? plainFile(reference) : anyNode(reference, parent)
    },
  }
}

/** Whether an image names a part of itself: plain bytes, never probed. */
const isExtent = (role: string): boolean => role.startsWith('extents.')

const roleText = (role: string): string =>
  role === 'data-file' ? 'a data file' : isExtent(role) ? 'an extent' : `a ${role} file`

const refused = ({ filename }: ChildReference, why: string): BlockError =>
  new BlockError('EACCES', `the image refers to '${filename}', and ${why}`)

/** @throws BlockError EINVAL for an empty name */
function plainFile({ filename }: ChildReference): RawOptions {
  if (filename === '') throw new BlockError('EINVAL', `The 'file' block driver requires a file name`)
  // A prefix that looks like a protocol is part of the name.
  return { driver: 'file', filename: pathName(filename) }
}

/** @throws BlockError EINVAL for an empty name, and a relative one in an image without a name */
function anyNode({ filename, driver }: ChildReference, parent: string): RawOptions {
  const full = resolveBackingFilename(parent, filename)
  if (full === undefined) throw new BlockError('EINVAL', 'The image names an empty file')
  return driver === undefined ? { filename: full } : { driver, filename: full }
}

/** @throws BlockError EACCES for a name outside the directory or not of a file; the host's errors */
async function confined(
  reference: ChildReference,
  parent: string,
  role: string,
  directory: string,
): Promise<RawOptions> {
  const { filename, driver } = reference
  if (filename === '' || filename.includes('\0'))
    throw new BlockError('EINVAL', 'The image names an empty file, or one that no host can have')
  // The name of a data file is a path, even if it looks like a protocol or JSON.
  const named = role === 'data-file' ? { path: filename } : namedFile(filename)
  // A name of `json:{...}`, or with a protocol, does not tell the directory of the image.
  const isHidden = parent === '' || protocolOf(parent) !== undefined
  if (!isAbsolutePath(named.path) && role !== 'data-file' && isHidden)
    throw refused(reference, 'the image has no directory itself')
  const from = role === 'data-file' ? '.' : dirname(parent)
  const path = await judged(reference, named.path, from, directory, named.otherMeaning)
  const file = { driver: 'file', filename: path }
  if (role === 'data-file' || isExtent(role)) return file
  // The format in the header wins, as in QEMU.
  const format = driver ?? named.format
  if (named.isBytes && format === undefined) return file
  return format === undefined ? { file } : { driver: format, file }
}

/** Resolves the path, if it lies in the directory. @throws BlockError */
async function judged(
  reference: ChildReference,
  named: string,
  from: string,
  directory: string,
  otherMeaning: string | undefined,
): Promise<string> {
  const wanted = resolve(from, named)
  const outside = (): BlockError => refused(reference, `only files in '${directory}' may be opened`)
  const home = await real(directory, directory)
  // On Windows, merely looking up a name on another machine would send that machine the user's identity.
  const roots = [rootOf(resolve(directory)), rootOf(home)]
  if (!roots.includes(rootOf(isAbsolutePath(named) ? named : wanted))) throw outside()
  if (isWindowsDevice(wanted)) throw refused(reference, 'that is a device')
  let path: string
  try {
    path = await real(wanted, reference.filename)
  } catch (error) {
    // A file may have such a name; if none has, the name is refused for what QEMU would read it as.
    throw otherMeaning === undefined ? error : refused(reference, otherMeaning)
  }
  const inside = relative(home, path)
  if (inside === '' || inside === '..' || inside.startsWith(`..${sep}`) || isAbsolute(inside)) throw outside()
  return path
}

const real = (path: string, name: string): Promise<string> =>
  realpath(path).catch((error: unknown) => {
    throw fromHostError(error, `Could not open '${name}'`)
  })
