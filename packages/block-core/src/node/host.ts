/**
 * What images may open on this host. By default everything they name, as QEMU's programs do it: for programs whose
 * user may open any file anyway. By options less: nothing, one role alone, or what lies in one directory.
 */
import { dirname, isAbsolute, relative, resolve, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expects, oneOfWords, requireOptions } from '../arguments.ts'
import type { ChildReference, ChildRole } from '../driver.ts'
import { BlockError } from '../errors.ts'
import type { OpenHost } from '../host.ts'
import type { RawOptions } from '../options.ts'
import { isAbsolutePath, pathName, protocolOf, resolveBackingFilename } from '../paths.ts'
import { fromHostError } from './host-error.ts'
import { realpath } from './host-fs.ts'
import { isWindowsDevice, namedFile, rootOf } from './named-file.ts'

/** What {@link nodeHost} lets images open. */
export interface NodeHostOptions {
  /**
   * Which files images may name: `all` (default), `none`, or those of one role. Files that the application names
   * itself, in the options of a node, are not asked about.
   */
  readonly allow?: 'all' | 'none' | 'backing' | 'data-file'
  /**
   * Only regular files in this directory, or below it, may be opened. A name is a path, `file:` and a path, or a `json:{...}` that says no
   * more than that and a format; a relative one is relative to the image that holds it, in each of these. What else it is, is refused.
   * Names are followed through `..` and symbolic links before they are judged, and
   * what is opened is the path that was judged. Who may rename directories on that path between the judgement
   * and the opening, or may make hard links, is beyond this: give such users a directory of their own.
   */
  readonly directory?: string | URL
}

/**
 * Opens the files that images name.
 *
 * A backing file may be any node: relative to the directory of the image that names it, absolute, with a
 * protocol, or `json:{...}`. The name of a data file is only ever that of a file, since whoever may write into
 * an image could else name anything the program can reach; a relative one is relative to the working
 * directory, as in QEMU.
 *
 * @throws BlockError EINVAL for options that there are not; TypeError for a directory that is a URL of something else than a
 *   directory of this host
 */
export function nodeHost(options: NodeHostOptions = {}): OpenHost {
  // A misspelled option would let images open everything.
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

const roleText = (role: ChildRole): string => (role === 'data-file' ? 'a data file' : `a ${role} file`)

const refused = ({ filename }: ChildReference, why: string): BlockError =>
  new BlockError('EACCES', `the image refers to '${filename}', and ${why}`)

/** @throws BlockError EINVAL for an empty name */
function plainFile({ filename }: ChildReference): RawOptions {
  if (filename === '') throw new BlockError('EINVAL', `The 'file' block driver requires a file name`)
  // What looks like a protocol is part of the name.
  return { driver: 'file', filename: pathName(filename) }
}

/** @throws BlockError EINVAL for an empty name, and a relative one in an image without a name */
function anyNode({ filename, driver }: ChildReference, parent: string): RawOptions {
  const full = resolveBackingFilename(parent, filename)
  if (full === undefined) throw new BlockError('EINVAL', 'The image names an empty file')
  return driver === undefined ? { filename: full } : { driver, filename: full }
}

/** @throws BlockError EACCES for what lies elsewhere or is no file, ENOENT and what else the host says of the path */
async function confined(
  reference: ChildReference,
  parent: string,
  role: ChildRole,
  directory: string,
): Promise<RawOptions> {
  const { filename, driver } = reference
  if (filename === '' || filename.includes('\0'))
    throw new BlockError('EINVAL', 'The image names an empty file, or one that no host can have')
  // The name of a data file is a path, whatever it looks like.
  const named = role === 'data-file' ? { path: filename } : namedFile(filename)
  // Only a name of `json:{...}` or of another protocol hides the place of the image.
  const isHidden = parent === '' || protocolOf(parent) !== undefined
  if (!isAbsolutePath(named.path) && role !== 'data-file' && isHidden)
    throw refused(reference, 'the image has no directory itself')
  const from = role === 'data-file' ? '.' : dirname(parent)
  const path = await judged(reference, named.path, from, directory, named.otherMeaning)
  const file = { driver: 'file', filename: path }
  if (role === 'data-file') return file
  // What the header says of the format holds, as in QEMU.
  const format = driver ?? named.format
  if (named.isBytes && format === undefined) return file
  return format === undefined ? { file } : { driver: format, file }
}

/** The path without links and dots, if it lies in the directory. @throws BlockError */
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
  // Asking Windows for a name of another machine would already show it who asks.
  const roots = [rootOf(resolve(directory)), rootOf(home)]
  if (!roots.includes(rootOf(isAbsolutePath(named) ? named : wanted))) throw outside()
  if (isWindowsDevice(wanted)) throw refused(reference, 'that is a device')
  let path: string
  try {
    path = await real(wanted, reference.filename)
  } catch (error) {
    // A file may have such a name; where there is none it was meant as QEMU reads it.
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
