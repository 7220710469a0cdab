/** A host that opens what images name, as QEMU's programs do: for programs whose user may open any file anyway. */
import type { ChildReference } from '../driver.ts'
import { BlockError } from '../errors.ts'
import { protocolOf } from '../filename.ts'
import type { OpenHost } from '../host.ts'
import type { RawOptions } from '../options.ts'
import { resolveBackingFilename } from '../paths.ts'

/**
 * Opens the files that images name.
 *
 * A backing file may be any node: relative to the directory of the image that names it, absolute, with a
 * protocol, or `json:{...}`. The name of a data file is only ever that of a file, since whoever may write into
 * an image could else name anything the program can reach; a relative one is relative to the working
 * directory, as in QEMU.
 */
export function nodeHost(): OpenHost {
  return {
    async resolve(reference, parent, role) {
      return role === 'data-file' ? plainFile(reference) : anyNode(reference, parent)
    },
  }
}

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
