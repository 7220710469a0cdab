/**
 * Which files an image is made of, whatever they are called: a target that is one of its own sources, or of its backing
 * files, would be emptied before it is read. Locks tell it, too, but not where they are off or shared.
 */
import {
  type BlockNode,
  filenameToOptions,
  type OpenEnvironment,
  openNode,
  resolveBackingFilename,
} from '@vmblock/block-core'
import { placeOf } from './image.ts'

/** Files, by what they are of the world (`NodeOps.place`), and what they are called. */
export type Files = Map<string, string>

/** Backing files that are followed, at most: as many as a chain may have. */
const LONGEST_CHAIN = 200

/** The files that an open image is made of. @param written only those that are written with it: none of its backing files */
export function filesOf(node: BlockNode, written = false): Files {
  const { place } = node.ops
  const files: Files = new Map(place === undefined ? [] : [[place, node.filename]])
  for (const [role, { node: below }] of node.children)
    if (role !== 'backing' || !written)
      for (const [key, name] of filesOf(below, written)) files.set(key, name)
  return files
}

/** Opens to look, beside whoever has it open; nobody hears of warnings. */
const look = ({ registry, host }: OpenEnvironment, options: Record<string, unknown>): Promise<BlockNode> =>
  openNode({ registry, host }, { ...options, 'read-only': true, 'force-share': true })

/** What of the world a file name stands for. @returns undefined where there is nothing, or nothing that can be told */
export async function placeOfName(environment: OpenEnvironment, name: string): Promise<string | undefined> {
  try {
    const node = await look(environment, filenameToOptions(environment.registry, name))
    const { place } = node.ops
    await node.close()
    return place
  } catch {
    return undefined
  }
}

/** The files of an image that is not open, and of its backing files, as far as they can be opened: the image's first. */
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
      const place = await placeOfName(environment, filename)
      if (place !== undefined) files.set(place, filename)
      break
    }
    const before = files.size
    for (const [place, below] of filesOf(node)) files.set(place, below)
    const { backingFilename, backingFormat } = await node.info()
    ;[filename, driver] = [
      backingFilename === undefined ? undefined : resolveBackingFilename(placeOf(node), backingFilename),
      backingFormat,
    ]
    await node.close()
    // A chain that comes back to itself has no more of them.
    if (files.size === before) break
  }
  return files
}

/** Of the files with these names, one that is among `files`, and what it is called there. */
export async function findSame(
  environment: OpenEnvironment,
  names: readonly (string | undefined)[],
  files: Files,
): Promise<{ readonly name: string; readonly called: string } | undefined> {
  for (const name of names) {
    const place = name === undefined ? undefined : await placeOfName(environment, name)
    const called = place === undefined ? undefined : files.get(place)
    if (name !== undefined && called !== undefined) return { name, called }
  }
  return undefined
}
