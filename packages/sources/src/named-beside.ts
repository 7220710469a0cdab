/** What images may name in a page: files beside them, on web servers and in the origin private file system, or any. */
import { BlockError, type ImageResolver, type NodeOptions } from '@vmblock/block-core'
import { protocolOf, resolveBackingFilename, wrongValue } from '@vmblock/block-core/driver'

/** A name with its protocol: a URL may be relative to the page. @throws BlockError EINVAL for what is no URL then */
function absolute(name: string): string {
  if (name === '' || protocolOf(name) !== undefined) return name
  try {
    return new URL(name, globalThis.location?.href).href
  } catch (cause) {
    throw new BlockError('EINVAL', `'${name}' is no URL`, { cause })
  }
}

function resolved(filename: string, parent: string): string {
  const full = resolveBackingFilename(absolute(parent), filename)
  if (full === undefined) throw new BlockError('EINVAL', 'The image names an empty file')
  return absolute(full)
}

const nodeOf = (filename: string, driver: string | undefined): NodeOptions =>
  driver === undefined ? { filename } : { driver, filename }

function refuseDataFile(filename: string, role: string): void {
  if (role === 'data-file')
    throw new BlockError(
      'EACCES',
      `the image refers to '${filename}', and a data file is not allowed in a page`,
    )
}

/** Lets images name any backing file that a page can open; a relative name is relative to the image. */
export const pageHost: ImageResolver = {
  async resolve({ filename, driver }, parent, role) {
    refuseDataFile(filename, role)
    return nodeOf(resolved(filename, parent), driver)
  },
}

/** The part of a name before its last slash, and that slash; of a name without one, its protocol. */
const directoryOf = (name: string): string => /^(.*\/|[^:]*:)/.exec(name)?.[0] ?? ''

/** A part of a path that leads elsewhere, also as servers decode it. */
const isStep = (part: string): boolean => /^(\.|%2e){1,2}$/i.test(part)

/**
 * Lets images name backing files in a directory and below it.
 *
 * @param directory absent: that of each image
 * @throws BlockError EINVAL for a directory that is neither a URL nor a name with a protocol
 */
export function directoryHost(directory?: string | URL): ImageResolver {
  const home = directory === undefined ? undefined : `${directory}`.replace(/\/?$/, '/')
  if (home !== undefined && protocolOf(home) === undefined)
    throw wrongValue('directory', "a URL, or a name such as 'opfs:images'", directory)
  return {
    async resolve({ filename, driver }, parent, role) {
      refuseDataFile(filename, role)
      const full = resolved(filename, parent)
      const from = home ?? directoryOf(absolute(parent))
      const below = full.slice(from.length).split(/[?#]/, 1)[0]!
      const isInside = from !== '' && full.startsWith(from) && !below.split(/[/\\]|%2f|%5c/i).some(isStep)
      if (!isInside)
        throw new BlockError(
          'EACCES',
          `the image refers to '${filename}', and only files in '${from}' may be opened`,
        )
      return nodeOf(full, driver)
    },
  }
}
