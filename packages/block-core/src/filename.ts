/** File names as QEMU's tools take them: `json:{...}`, `protocol:...`, and paths. */
import type { AnyDriver } from './driver.ts'
import { BlockError } from './errors.ts'
import { parseJson } from './json.ts'
import { isTree, nestOptions } from './key-value.ts'
import type { RawOptions } from './options.ts'
import { pathName, protocolOf } from './paths.ts'
import type { DriverRegistry } from './registry.ts'

/**
 * Turns a file name into the options of the node it names.
 *
 * @returns for `json:{...}` the tree it holds, which may name any node; else a protocol node's options
 * @throws BlockError EINVAL `Unknown protocol 'X'`, or what is wrong with the JSON
 */
export function filenameToOptions(registry: DriverRegistry, filename: string): RawOptions {
  if (filename.startsWith('json:')) return jsonOptions(filename.slice('json:'.length))
  // Before its prefix is looked at: names of devices may hold colons.
  const device = registry.deviceOf(filename)
  if (device) return { driver: device.name, filename: pathName(filename) }
  const prefix = protocolOf(filename)
  if (prefix === undefined) return { driver: 'file', filename }
  const driver = registry.byPrefix(prefix)
  if (driver) return { driver: driver.name, ...parsePrefixed(registry, driver, filename) }
  if (prefix !== 'file') throw new BlockError('EINVAL', `Unknown protocol '${prefix}'`)
  return { driver: 'file', filename: pathName(filename.slice('file:'.length)) }
}

/**
 * What a driver makes of a file name with one of its prefixes. A child it gives as nothing but a `filename`
 * is a file name as the tools take it (`blkdebug:rules:null-co://`).
 */
export function parsePrefixed(registry: DriverRegistry, driver: AnyDriver, filename: string): RawOptions {
  if (!driver.parseFilename) return { filename }
  const options: Record<string, unknown> = { ...nestOptions(driver.parseFilename(filename)) }
  for (const role of driver.children ?? []) {
    const child = options[role]
    if (isTree(child) && typeof child['filename'] === 'string' && child['driver'] === undefined) {
      const { filename: name, ...rest } = child
      options[role] = { ...filenameToOptions(registry, name as string), ...rest }
    }
  }
  return options
}

function jsonOptions(text: string): RawOptions {
  let value: unknown
  try {
    value = parseJson(text)
  } catch (error) {
    throw new BlockError('EINVAL', `Could not parse the JSON options: ${(error as Error).message}`)
  }
  if (!isTree(value)) throw new BlockError('EINVAL', 'Invalid JSON object given')
  // Opening for a check, or to be described, is the program's decision, never that of a name.
  for (const key of ['check-mode', 'checkMode', 'no-io', 'noIo'])
    if (key in value)
      throw new BlockError('EINVAL', `Invalid parameter '${key.replace(/[A-Z]/, '-$&').toLowerCase()}'`)
  return nestOptions(value)
}
