/**
 * What images may open on this host. By default everything they name, as QEMU's programs do it: for programs whose
 * user may open any file anyway. By options less: nothing, one role alone, or what lies in one directory.
 */
import { dirname, isAbsolute, relative, resolve, sep } from 'node:path'
import { oneOfWords, requireOptions, requireText } from '../arguments.ts'
import type { ChildReference, ChildRole } from '../driver.ts'
import { fromHostError } from '../errno.ts'
import { BlockError } from '../errors.ts'
import { protocolOf } from '../filename.ts'
import type { OpenHost } from '../host.ts'
import type { RawOptions } from '../options.ts'
import { resolveBackingFilename } from '../paths.ts'
import { realpath } from './host-fs.ts'

/** What {@link nodeHost} lets images open. */
export interface NodeHostOptions {
  /**
   * Which files images may name: `all` (default), `none`, or those of one role. Files that the application names
   * itself, in the options of a node, are not asked about.
   */
  readonly allow?: 'all' | 'none' | 'backing' | 'data-file'
  /**
   * Only regular files in this directory, or below it, may be opened. Names are taken for paths, never for
   * protocols or `json:{...}`; they are followed through `..` and symbolic links before they are judged, and
   * what is opened is the path that was judged. Who may rename directories on that path between the judgement
   * and the opening, or may make hard links, is beyond this: give such users a directory of their own.
   */
  readonly directory?: string
}

/**
 * Opens the files that images name.
 *
 * A backing file may be any node: relative to the directory of the image that names it, absolute, with a
 * protocol, or `json:{...}`. The name of a data file is only ever that of a file, since whoever may write into
 * an image could else name anything the program can reach; a relative one is relative to the working
 * directory, as in QEMU.
 *
 * @throws BlockError EINVAL for options that there are not
 */
export function nodeHost(options: NodeHostOptions = {}): OpenHost {
  // A misspelled option would let images open everything.
  requireOptions(options, 'options', {
    allow: oneOfWords('all', 'none', 'backing', 'data-file'),
    directory: requireText,
  })
  const { allow = 'all', directory } = options
  return {
    async resolve(reference, parent, role) {
      if (allow !== 'all' && allow !== role) throw refused(reference, `${roleText(role)} is not allowed`)
      if (directory !== undefined) return confined(reference, parent, role, directory)
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
  return { driver: 'file', filename: protocolOf(filename) === undefined ? filename : `./${filename}` }
}

/** @throws BlockError EINVAL for an empty name, and a relative one in an image without a name */
function anyNode({ filename, driver }: ChildReference, parent: string): RawOptions {
  const full = resolveBackingFilename(parent, filename)
  if (full === undefined) throw new BlockError('EINVAL', 'The image names an empty file')
  return driver === undefined ? { filename: full } : { driver, filename: full }
}

/** @throws BlockError EACCES for what lies elsewhere, ENOENT and what else the host says of the path */
async function confined(
  reference: ChildReference,
  parent: string,
  role: ChildRole,
  directory: string,
): Promise<RawOptions> {
  const { filename, driver } = reference
  if (filename === '' || filename.includes('\0'))
    throw new BlockError('EINVAL', 'The image names an empty file, or one that no host can have')
  // Only a name of `json:{...}` or of another protocol hides the place of the image.
  if (!isAbsolute(filename) && role !== 'data-file' && (parent === '' || protocolOf(parent) !== undefined))
    throw refused(reference, 'the image has no directory itself')
  const from = role === 'data-file' ? '.' : dirname(parent)
  const path = await real(resolve(from, filename), reference)
  const home = await real(directory, reference)
  const inside = relative(home, path)
  if (inside === '' || inside === '..' || inside.startsWith(`..${sep}`) || isAbsolute(inside))
    throw refused(reference, `only files in '${directory}' may be opened`)
  const file = { driver: 'file', filename: path }
  if (role === 'data-file') return file
  return driver === undefined ? { file } : { driver, file }
}

const real = (path: string, { filename }: ChildReference): Promise<string> =>
  realpath(path).catch((error: unknown) => {
    throw fromHostError(error, `Could not open '${filename}'`)
  })
