/** Options as users write them: `key=value,...`. */
import { parseKeyValue, type RawOptions } from '@vmblock/block-core'
import type { Warn } from './options.ts'

/** What the library's warnings begin with; programs put their names before it. */
const PREFIX = 'warning: '

/**
 * Reads a list of options as a tree.
 *
 * @param impliedKey the key of the first part if it has no `=`
 * @throws BlockError EINVAL
 */
export const readOptionTree = (text: string, warn: Warn, impliedKey?: string): RawOptions =>
  parseKeyValue(text, impliedKey, (line) => warn(line.slice(PREFIX.length)))
