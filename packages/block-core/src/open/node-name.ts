/** The file name of a node: the name that would open it again, or `json:{...}` if no plain name would. */

import type { AnyDriver } from '../contract/driver.ts'
import type { BlockNode } from '../contract/node.ts'
import { childrenOf, hasBackingFiles, kindOf } from '../graph/child-options.ts'
import { isProtocolLike } from '../graph/common-options.ts'
import { linkedNode } from '../graph/known-nodes.ts'
import { jsonText } from '../text/json-text.ts'
import { flattenOptions, isTree } from '../text/option-tree.ts'
import type { RawOptions } from '../text/options.ts'
import { pathName } from '../text/paths.ts'

/** What a node's name is derived from. */
export interface NameParts {
  readonly driver: AnyDriver
  /** The driver's own options as the user gave them. */
  readonly own: RawOptions
  /** The file name that the user gave and the driver parsed (`null-co://`). */
  readonly given: string | undefined
  readonly children: ReadonlyMap<string, BlockNode>
  /** Names of children that are not the ones which the image names; without a child if the user gave `null`. */
  readonly overridden: ReadonlySet<string>
}

/** A name, and the options it abbreviates. */
export interface NodeNames {
  readonly filename: string
  readonly full: RawOptions
}

/** Names a node by QEMU's rules (`bdrv_refresh_filename`). */
export function nameNode(parts: NameParts): NodeNames {
  const { driver, children, overridden } = parts
  const kinds = childrenOf(driver)
  const file = [...children].find(([role]) => kindOf(kinds, role)?.isPrimary)?.[1]
  // The options of formats with backing files are only tuning, but for the key; those of other formats (raw's offset)
  // change the content.
  const shown = [...shownOptions(parts)]
  const strong = plainOnly(
    Object.fromEntries(
      hasBackingFiles(driver) ? shown.filter(([key]) => key === 'encrypt.key-secret') : shown,
    ),
  )
  const full: Record<string, unknown> = { driver: driver.name, ...strong }
  for (const [role, child] of children) {
    if (kindOf(kinds, role)?.isNamedByImage && !overridden.has(role)) continue
    const [key, index] = role.split('.') as [string, string?]
    const value = linkedNode(child).origin?.full ?? child.name
    full[key] = index ? [...((full[key] as unknown[] | undefined) ?? []), value] : value
  }
  for (const role of overridden) if (!children.has(role)) full[role] = null
  const exact = exactName(parts, file, Object.keys(strong).length > 0 || overridden.size > 0)
  return { filename: exact || `json:${jsonText(full)}`, full }
}

/** The driver's options, in displayable form. */
function* shownOptions({ driver, own }: NameParts): Generator<readonly [string, unknown]> {
  for (const [key, value] of flattenOptions(own))
    yield [key, driver.shown && typeof value === 'string' ? driver.shown(value) : value]
}

function exactName(parts: NameParts, file: BlockNode | undefined, changed: boolean): string {
  const { driver, own, given } = parts
  const below = file?.filename.startsWith('json:') ? '' : file?.filename
  if (driver.nameFromOptions) return driver.nameFromOptions(plainOnly(own), below, parts.children) ?? ''
  if (driver.kind === 'protocol') return typeof own['filename'] === 'string' ? own['filename'] : (given ?? '')
  if (driver.kind === 'filter') return given ?? ''
  return below && !changed && isProtocolLike(file!.driver) ? below : ''
}

/** The file name that relative names in an image's header are relative to; empty if there is none. */
export function bottomFilename(node: BlockNode | undefined): string {
  let below = node
  while (below?.file) below = below.file.node
  if (below?.driver.takesPaths) return pathName(below.filename)
  return below === undefined || below.filename.startsWith('json:') ? '' : below.filename
}

/** The options that can be written in a name: no buffers or other objects of the program. */
function plainOnly(options: RawOptions): RawOptions {
  const plain = (value: unknown): boolean =>
    Object(value) !== value || ((Array.isArray(value) || isTree(value)) && Object.values(value).every(plain))
  return Object.fromEntries(Object.entries(options).filter(([, value]) => plain(value)))
}
