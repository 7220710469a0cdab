/** The options that every node has, separated from those of its driver and from its children. */

import { shown } from '../base/arguments.ts'
import { BlockError } from '../base/errors.ts'
import type { DriverFacts } from '../contract/driver-facts.ts'
import type { CoreConfig } from '../contract/node-config.ts'
import { flattenOptions, isTree } from '../text/option-tree.ts'
import { bool, camelKey, type OptionTable, type RawOptions } from '../text/options.ts'

/** QEMU's `BlockdevOptionsBase`, and two of our own; options that were not given are undefined. */
export interface CommonOptions {
  readonly driver: string | undefined
  readonly nodeName: string | undefined
  readonly readOnly: boolean | undefined
  readonly autoReadOnly: boolean | undefined
  readonly forceShare: boolean | undefined
  readonly direct: boolean | undefined
  readonly noFlush: boolean | undefined
  readonly writeCache: boolean | undefined
  readonly unmap: boolean | undefined
  readonly detectZeroes: CoreConfig['detectZeroes'] | undefined
  readonly checkMode: boolean
  readonly noIo: boolean
}

/** What a child inherits from a node unless its own options say otherwise. */
export interface Inherited {
  readonly readOnly: boolean
  readonly autoReadOnly: boolean
  readonly direct: boolean
  readonly noFlush: boolean
  readonly forceShare: boolean
  readonly unmap: boolean
}

/** What a node without a parent inherits. */
export const NO_PARENT: Inherited = {
  readOnly: false,
  autoReadOnly: false,
  direct: false,
  noFlush: false,
  forceShare: false,
  unmap: false,
}

/** A node's options in two parts. */
export interface TakenOptions {
  readonly common: CommonOptions
  /** Options of the driver, and children. */
  readonly rest: RawOptions
}

/**
 * Takes the common options out of a tree made by `nestOptions`.
 *
 * @param isTop whether users hold the node: only then can it have its own write cache mode, and be opened for
 *   a check or to be described
 * @throws BlockError EINVAL
 */
export function takeCommon(tree: RawOptions, isTop: boolean): TakenOptions {
  const rest: Record<string, unknown> = { ...tree }
  const take = (key: string): unknown => {
    const value = rest[key]
    delete rest[key]
    return value
  }
  const flag = (key: string, value: unknown): boolean | undefined =>
    value === undefined ? undefined : flags.parse(value, key)

  const { direct, 'no-flush': noFlush, writeback, ...otherCache } = isTree(rest['cache']) ? rest['cache'] : {}
  if (isTree(rest['cache'])) {
    const leftover = { ...otherCache, ...(isTop || writeback === undefined ? {} : { writeback }) }
    if (Object.keys(leftover).length > 0) rest['cache'] = leftover
    else delete rest['cache']
  }
  const mode = (key: string): boolean => isTop && typeof rest[key] === 'boolean' && take(key) === true
  const common: CommonOptions = {
    driver: word('driver', take('driver')),
    nodeName: word('node-name', take('node-name')),
    readOnly: flag('read-only', take('read-only')),
    autoReadOnly: flag('auto-read-only', take('auto-read-only')),
    forceShare: flag('force-share', take('force-share')),
    direct: flag('cache.direct', direct),
    noFlush: flag('cache.no-flush', noFlush),
    writeCache: isTop ? flag('cache.writeback', writeback) : undefined,
    unmap: parseDiscard(take('discard')),
    detectZeroes: parseDetectZeroes(take('detect-zeroes')),
    checkMode: mode('check-mode'),
    noIo: mode('no-io'),
  }
  return { common, rest }
}

const flags = bool('')

function word(key: string, value: unknown): string | undefined {
  if (value === undefined || typeof value === 'string') return value
  throw new BlockError('EINVAL', `Invalid parameter type for '${key}', expected: string`)
}

function parseDiscard(value: unknown): boolean | undefined {
  if (value === undefined) return undefined
  if (value === 'unmap' || value === 'on') return true
  if (value === 'ignore' || value === 'off') return false
  throw new BlockError('EINVAL', 'Invalid discard option')
}

function parseDetectZeroes(value: unknown): CommonOptions['detectZeroes'] {
  if (value === undefined || value === 'off' || value === 'on' || value === 'unmap') return value
  throw new BlockError(
    'EINVAL',
    `invalid parameter value: ${typeof value === 'string' ? value : shown(value)}`,
  )
}

/**
 * The core's view of a node, from its options and what it inherits.
 *
 * @throws BlockError EINVAL for options that contradict each other
 */
export function nodeConfig(common: CommonOptions, inherited: Inherited, explicit: RawOptions): CoreConfig {
  const readOnly = common.readOnly ?? inherited.readOnly
  const unmap = common.unmap ?? inherited.unmap
  const detectZeroes = common.detectZeroes ?? 'off'
  if ((common.forceShare ?? inherited.forceShare) && !readOnly)
    throw new BlockError('EINVAL', 'force-share=on can only be used with read-only images')
  if (detectZeroes === 'unmap' && !unmap)
    throw new BlockError(
      'EINVAL',
      'setting detect-zeroes to unmap is not allowed without setting discard operation to unmap',
    )
  return {
    readOnly,
    direct: common.direct ?? inherited.direct,
    noFlush: common.noFlush ?? inherited.noFlush,
    unmap,
    detectZeroes,
    checkMode: common.checkMode,
    noIo: common.noIo,
    closesUnused: true,
    explicit,
  }
}

/** Whether QEMU treats a driver as a protocol: prefixes name it, and its children are not probed. */
export const isProtocolLike = (driver: DriverFacts): boolean =>
  driver.kind === 'protocol' || (driver.prefixes?.length ?? 0) > 0

/** A driver's own options, and the unknown rest. */
export interface DriverOptions {
  /** For `parseOptions`. */
  readonly known: RawOptions
  /** Dotted keys. */
  readonly unknown: readonly string[]
}

/** Separates a driver's options from unknown ones. Trees become dotted keys if the driver has such keys. */
export function splitDriverOptions(driver: DriverFacts, rest: RawOptions): DriverOptions {
  const table: OptionTable = driver.options ?? {}
  const keys = Object.keys(table)
  const known: Record<string, unknown> = {}
  const unknown: string[] = []
  for (const [key, value] of Object.entries(rest)) {
    const camel = camelKey(key)
    const dotted = isTree(value) && keys.some((name) => name.startsWith(`${camel}.`))
    if (dotted || (isTree(value) && !Object.hasOwn(table, camel))) {
      for (const [leaf, inner] of flattenOptions(value, `${key}.`)) {
        if (Object.hasOwn(table, camelKey(leaf))) known[leaf] = inner
        else unknown.push(leaf)
      }
    } else if (Object.hasOwn(table, camel)) known[key] = value
    else unknown.push(key)
  }
  return { known, unknown }
}
