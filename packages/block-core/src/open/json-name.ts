/** File names that hold option trees, `json:{...}`, for callers that cannot wait for a module to load. */

import type { DriverRegistry } from '../contract/registry.ts'
import { parseNameObject } from '../text/json.ts'
import type { RawOptions } from '../text/options.ts'
import { jsonNameReader, optionsOfName } from './filename.ts'

/**
 * Turns a file name into the options of the node it names.
 *
 * @returns for `json:{...}` the tree it holds, which may name any node; else a protocol node's options
 * @throws BlockError EINVAL `Unknown protocol 'X'`, or what is wrong with the JSON
 */
export const filenameToOptions = (registry: DriverRegistry, filename: string): RawOptions =>
  optionsOfName(registry, filename, jsonNameReader(parseNameObject))
