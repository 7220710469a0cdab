/**
 * Finds the files that an image consists of, under any name: a target that is also a source or a backing file
 * would be emptied before it is read. Locks catch this too, but not if they are off or shared.
 */
import { type BlockNode, type OpenEnvironment, openNode } from '@vmblock/block-core'
import { opsOf, resolveBackingFilename } from '@vmblock/block-core/driver'
import { filenameToOptions } from '@vmblock/cli'
import { bottomFilename } from './image.ts'

/** Names of files by their identity (`NodeOps.identity`). */
export type Files = Map<string, string>

/** Limit of backing files to follow: the longest chain allowed. */
const LONGEST_CHAIN = 200

/** The files that an open image consists of. @param written only those that it writes: no backing files */
export function filesOf(node: BlockNode, written = false): Files {
  const { identity } = opsOf(node)
  const files: Files = new Map(identity === undefined ? [] : [[identity, node.filename]])
  for (const { kind, node: below } of node.children.values())
    if (!kind.isBacking || !written) for (const [key, name] of filesOf(below, written)) files.set(key, name)
  return files
}

/** Opens an image read-only, even if it is open elsewhere, without warnings. */
const look = ({ registry, host }: OpenEnvironment, options: Record<string, unknown>): Promise<BlockNode> =>
  openNode({ registry, host }, { ...options, 'read-only': true, 'force-share': true })

/** The identity of the file that a name stands for. @returns undefined if there is none, or it is unknown */
export async function identityOfName(
  environment: OpenEnvironment,
  name: string,
): Promise<string | undefined> {
  try {
    const node = await look(environment, filenameToOptions(environment.registry, name))
    const { identity } = opsOf(node)
    await node.close()
    return identity
  } catch {
    return undefined
  }
}

/** The files of an image that is not open, then those of its backing files, as long as they can be opened. */
export async function filesOfChain(
  environment: OpenEnvironment,
  name: string,
  format: string | undefined,
): Promise<Files> {
  const files: Files = new Map()
  let [filename, driver]: (string | undefined)[] = [name, format]
  for (let depth = 0; filename !== undefined && depth < LONGEST_CHAIN; depth++) {
    const options = { filename, ...(driver !== undefined && { driver }), backing: null }
    const node: BlockNode | undefined = await look(environment, options).catch(() => undefined)
    if (!node) {
      const identity = await identityOfName(environment, filename)
      if (identity !== undefined) files.set(identity, filename)
      break
    }
    const before = files.size
    for (const [identity, below] of filesOf(node)) files.set(identity, below)
    const { backingFilename, backingFormat } = await node.info()
    ;[filename, driver] = [
      backingFilename === undefined
        ? undefined
        : resolveBackingFilename(bottomFilename(node), backingFilename),
      backingFormat,
    ]
    await node.close()
    // No new files: the chain is circular.
    if (files.size === before) break
  }
  return files
}

/** Finds a file with one of these names among `files`. @returns the name, and the name that it has there */
export async function findSame(
  environment: OpenEnvironment,
  names: readonly (string | undefined)[],
  files: Files,
): Promise<{ readonly name: string; readonly called: string } | undefined> {
  for (const name of names) {
    const identity = name === undefined ? undefined : await identityOfName(environment, name)
    const called = identity === undefined ? undefined : files.get(identity)
    if (name !== undefined && called !== undefined) return { name, called }
  }
  return undefined
}
