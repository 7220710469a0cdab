/** The children that a driver declares, and the options that describe them. */
import { BlockError } from '../base/errors.ts'
import { type ChildKind, type ChildKinds, filtered, storage } from '../contract/child-kinds.ts'
import type { DriverFacts } from '../contract/driver-facts.ts'
import { isTree } from '../text/option-tree.ts'

const DEFAULT: Readonly<Record<DriverFacts['kind'], ChildKinds>> = {
  protocol: {},
  format: { file: storage },
  filter: { file: filtered },
}

/** The children of a driver's nodes. */
export const childrenOf = ({ children, kind }: DriverFacts): ChildKinds => children ?? DEFAULT[kind]

/** Of all the children that `kinds` declares, those that `is` holds for: names, in order. */
export const namesOf = (kinds: ChildKinds, is: (kind: ChildKind) => unknown): readonly string[] =>
  Object.keys(kinds).filter((name) => is(kinds[name]!))

/** The kind of a child, by its name: `file`, or `extents.0` of the list `extents.*`. */
export function kindOf(kinds: ChildKinds, name: string): ChildKind | undefined {
  const key = Object.hasOwn(kinds, name) ? name : name.replace(/\.\d+$/, '.*')
  return Object.hasOwn(kinds, key) ? kinds[key] : undefined
}

/** Whether nodes of a driver can have a backing file. */
export const hasBackingFiles = (driver: DriverFacts): boolean =>
  namesOf(childrenOf(driver), (kind) => kind.isBacking).length > 0

/** The name of a list of children, without the `.*` that declares it; undefined for a single child. */
const listOf = (name: string): string | undefined => (name.endsWith('.*') ? name.slice(0, -2) : undefined)

/**
 * Moves the values of children out of a tree of options: those of a list become `extents.0`, `extents.1`, ...,
 * whether it was given as an array or with dotted keys.
 *
 * @throws BlockError EINVAL if a number is missing in a list
 */
export function takeChildValues(kinds: ChildKinds, own: Record<string, unknown>): Map<string, unknown> {
  const values = new Map<string, unknown>()
  for (const name of Object.keys(kinds)) {
    const list = listOf(name)
    const value = own[list ?? name]
    if (value === undefined) continue
    if (list === undefined) values.set(name, value)
    else for (const [i, one] of itemsOf(list, value).entries()) values.set(`${list}.${i}`, one)
    delete own[list ?? name]
  }
  return values
}

/** Moves the value of one child, or of one child of a list, out of a tree of options, if it is there. */
export function takeChildValue(own: Record<string, unknown>, name: string): unknown {
  const { list, at } = /^(?<list>.*)\.(?<at>\d+)$/.exec(name)?.groups ?? {}
  const values = list === undefined ? own : own[list]
  const key = at ?? name
  // An array becomes a tree of what is left of it.
  const { [key]: value, ...others } = (typeof values === 'object' ? values : {}) as Record<string, unknown>
  if (value === undefined) return undefined
  if (list === undefined) delete own[key]
  else if (Object.keys(others).length > 0) own[list] = others
  else delete own[list]
  return value
}

/** The items of a list. @throws BlockError EINVAL, in QEMU's words */
function itemsOf(list: string, value: unknown): readonly unknown[] {
  const items = Array.isArray(value) || isTree(value) ? Object.entries(value) : [['']]
  // Keys that are numbers come in their order.
  if (items.some(([key], i) => key !== String(i)))
    throw new BlockError('EINVAL', `Option ${list} is not a valid array`)
  return items.map(([, item]) => item)
}
