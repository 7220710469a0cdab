/** Options as users write them: `key=value,...`, in the grammar of QEMU's programs. */
import type { RawOptions } from '@vmblock/block-core'
import { optionTree } from '@vmblock/block-core/driver'
import type { Warn } from './options.ts'

/**
 * Reads `key=value,...` with the grammar of QEMU's `QemuOpts`: `,,` stands for a comma inside a value; a key
 * without `=` is `on`, or `off` after `no`; the last of equal keys wins; `id` is ignored.
 *
 * @param warn receives QEMU's two-line warning about a key without a value
 * @param impliedKey the key of the first part if it has no `=`
 * @returns the options as a tree; values are strings
 * @throws BlockError EINVAL
 */
export function readOptionTree(text: string, warn: Warn, impliedKey?: string): RawOptions {
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
      warn(`short-form boolean option '${name}' deprecated\nPlease use ${key}=${value} instead`)
    flat.push([key, value])
    at = end + 1
  }
  return optionTree(flat.filter(([key]) => key !== 'id'))
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
