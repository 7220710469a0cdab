/** File names as QEMU's tools take them: `protocol:...`, paths, and `json:{...}` (with a JSON reader). */

import { BlockError } from '../base/errors.ts'
import type { AnyDriver } from '../contract/driver.ts'
import type { DriverRegistry } from '../contract/registry.ts'
import { nestOptions } from '../text/option-tree.ts'
import type { RawOptions } from '../text/options.ts'
import { pathName, protocolOf } from '../text/paths.ts'

/** Reads the text after `json:`. @throws BlockError EINVAL that says what is wrong with it */
export type JsonNameReader = (text: string) => RawOptions

/**
 * Turns a file name into the options of the node it names.
 *
 * @param readJson undefined: `json:` occurs nowhere in the name
 * @throws BlockError EINVAL `Unknown protocol 'X'`, or what is wrong with the JSON
 */
export function optionsOfName(
  registry: DriverRegistry,
  filename: string,
  readJson: JsonNameReader | undefined,
): RawOptions {
  if (readJson && filename.startsWith('json:')) return readJson(filename.slice('json:'.length))
  // Before the prefix is considered: names of devices may contain colons.
  const device = registry.deviceOf(filename)
  if (device) return { driver: device.name, filename: pathName(filename) }
  const prefix = protocolOf(filename)
  if (prefix === undefined) return { driver: 'file', filename }
  const driver = registry.byPrefix(prefix)
  if (driver) return { driver: driver.name, ...parsePrefixed(registry, driver, filename, readJson) }
  if (prefix !== 'file') throw new BlockError('EINVAL', `Unknown protocol '${prefix}'`)
  return { driver: 'file', filename: pathName(filename.slice('file:'.length)) }
}

/**
 * Parses a file name that has one of a driver's prefixes. If the driver gives a child by `filename` alone,
 * that is again a file name as the tools take it (`blkdebug:rules:null-co://`); that of a child whose format is
 * probed is left to its own opening.
 */
export function parsePrefixed(
  registry: DriverRegistry,
  driver: AnyDriver,
  filename: string,
  readJson: JsonNameReader | undefined,
): RawOptions {
  if (!driver.parseFilename) return { filename }
  const options: Record<string, unknown> = { ...nestOptions(driver.parseFilename(filename)) }
  for (const [role, { opens }] of Object.entries(driver.children ?? {})) {
    const { filename: name, ...rest } = (options[role] ?? {}) as RawOptions
    if (name && opens !== 'probed' && !rest['driver'])
      options[role] = { ...optionsOfName(registry, name as string, readJson), ...rest }
  }
  return options
}

/** Makes a reader for `json:` names. @param parseObject throws an Error with QEMU's message */
export const jsonNameReader =
  (parseObject: (text: string) => RawOptions): JsonNameReader =>
  (text) => {
    let value: RawOptions
    try {
      value = parseObject(text)
    } catch (error) {
      throw new BlockError('EINVAL', (error as Error).message)
    }
    return nestOptions(value)
  }
