/** Option trees: dotted keys become nested trees, and back. */
import { isPlain } from '../base/arguments.ts'
import { BlockError } from '../base/errors.ts'
import { canonicalKey, type RawOptions } from './options.ts'

/** A tree that is still being built. */
type Tree = Record<string, unknown>

/** Whether a value is a group of options: a plain object, not a list, a node, a buffer or a driver. */
export const isTree = (value: unknown): value is RawOptions =>
  isPlain(value) && typeof value['open'] !== 'function'

/**
 * A tree of options from their dotted keys, in order: of equal keys the last wins.
 *
 * @throws BlockError EINVAL for a key that no option can have, or that is nested too deeply
 */
export function optionTree(entries: Iterable<readonly [key: string, value: unknown]>): RawOptions {
  const tree: Tree = {}
  for (const [key, value] of entries) insert(tree, pathOf(key), value)
  return tree
}

/**
 * Normalizes a tree: keys in QEMU's spelling, dotted keys and nested trees joined into nested trees. If a key
 * has both a value and keys below it, the lower ones stay dotted. Lists, open nodes and buffers are left
 * alone.
 *
 * @throws BlockError EINVAL if the tree is nested too deeply
 */
export function nestOptions(raw: RawOptions): RawOptions {
  return nestBelow(raw, 0)
}

function nestBelow(raw: RawOptions, depth: number): RawOptions {
  const tree: Tree = {}
  for (const [key, value] of Object.entries(raw)) {
    if (value === undefined) continue
    const path = pathOf(canonicalKey(key), depth)
    insert(tree, path, isTree(value) ? nestBelow(value, depth + path.length) : value)
  }
  return tree
}

/** Deepest nesting of an option tree, as for JSON. */
const MAX_DEPTH = 1024

/** The parts of a dotted key that is `depth` levels below the top. @throws BlockError EINVAL */
function pathOf(key: string, depth = 0): string[] {
  const path = key.split('.')
  if (depth + path.length > MAX_DEPTH)
    throw new BlockError('EINVAL', `Options are nested more than ${MAX_DEPTH} levels deep`)
  return path
}

function insert(tree: Tree, path: readonly string[], value: unknown): void {
  const [head = '', ...rest] = path
  if (head === '__proto__') throw new BlockError('EINVAL', `Invalid parameter '${path.join('.')}'`)
  const present = tree[head]
  if (rest.length > 0) {
    const below = present === undefined ? {} : present
    if (!isTree(below)) {
      tree[path.join('.')] = value
      return
    }
    tree[head] = below
    insert(below as Tree, rest, value)
    return
  }
  if (isTree(present) && isTree(value)) {
    for (const [key, inner] of Object.entries(value)) insert(present as Tree, [key], inner)
    return
  }
  if (isTree(present)) for (const [key, inner] of flattenOptions(present)) tree[`${head}.${key}`] = inner
  tree[head] = value
}

/** The leaves of a tree with their dotted keys, in order; an empty tree has none. */
export function* flattenOptions(tree: RawOptions, prefix = ''): Generator<[key: string, value: unknown]> {
  for (const [key, value] of Object.entries(tree)) {
    if (isTree(value)) yield* flattenOptions(value, `${prefix}${key}.`)
    else yield [`${prefix}${key}`, value]
  }
}

/** Merges two trees made by {@link nestOptions}; if both have a value for a key, that of `high` wins. */
export function mergeOptions(low: RawOptions, high: RawOptions): RawOptions {
  const merged: Tree = { ...low }
  for (const [key, value] of Object.entries(high)) {
    const below = merged[key]
    merged[key] = isTree(below) && isTree(value) ? mergeOptions(below, value) : value
  }
  return merged
}

/** A message, with the options that it quotes spelled as `tree` spells them: messages spell them as QEMU does. */
export function spelledAs(tree: RawOptions, message: string): string {
  let spelled = message
  for (const [path] of flattenOptions(tree))
    for (const key of [path, ...path.split('.')])
      spelled = spelled.replaceAll(`'${canonicalKey(key)}'`, `'${key}'`)
  return spelled
}
