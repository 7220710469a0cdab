/** Option trees from text: parses `a=b,c.d=e` as QEMU does, and turns dotted keys into nested trees. */
import { isPlain, requireText } from '../base/arguments.ts'
import { BlockError } from '../base/errors.ts'
import { canonicalKey, type RawOptions } from './options.ts'

/** A tree that is still being built. */
type Tree = Record<string, unknown>

/** Whether a value is a group of options: a plain object, not a list, a node or a buffer. */
export const isTree = (value: unknown): value is RawOptions => isPlain(value)

/**
 * Reads `key=value,...` with the grammar of QEMU's `QemuOpts`: `,,` stands for a comma inside a value; a key
 * without `=` is `on`, or `off` after `no`; the last of equal keys wins; `id` is ignored.
 *
 * @param impliedKey the key of the first part if it has no `=`
 * @param warn receives QEMU's two-line warning about a key without a value
 * @returns the options as a tree; values are strings
 * @throws BlockError EINVAL
 */
export function parseKeyValue(text: string, impliedKey?: string, warn?: (text: string) => void): RawOptions {
  requireText(text, 'text')
  const flat: [key: string, value: string][] = []
  for (let at = 0; at < text.length; ) {
    const end = at + text.slice(at).search(/[=,]|$/)
    const name = text.slice(at, end)
    const implied = at === 0 ? impliedKey : undefined
    if (text[end] === '=' || implied !== undefined) {
      const [value, next] = readValue(text, text[end] === '=' ? end + 1 : at)
      flat.push([text[end] === '=' ? name : (implied as string), value])
      at = next
      continue
    }
    const negated = name.startsWith('no')
    const key = negated ? name.slice(2) : name
    const value = negated ? 'off' : 'on'
    if (key !== 'help' && key !== '?')
      warn?.(`warning: short-form boolean option '${name}' deprecated\nPlease use ${key}=${value} instead`)
    flat.push([key, value])
    at = end + 1
  }
  const tree: Tree = {}
  for (const [key, value] of flat) if (key !== 'id') insert(tree, pathOf(key), value)
  return tree
}

/** Reads to the next single comma. Returns the value and where the next option starts. */
function readValue(text: string, start: number): [value: string, next: number] {
  let value = ''
  for (let at = start; ; ) {
    const comma = text.indexOf(',', at)
    if (comma < 0) return [value + text.slice(at), text.length]
    value += text.slice(at, comma)
    if (text[comma + 1] !== ',') return [value, comma + 1]
    value += ','
    at = comma + 2
  }
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
