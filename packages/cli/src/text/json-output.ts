/** The JSON output of the programs, identical to QEMU's, even for names that are not UTF-8. */
import { dictionaryEntries, jsonText } from '@vmblock/block-core/driver'

/** Formats a value as JSON on several lines, with a final newline. */
export const jsonOutput = (value: unknown): string => `${indented(readable(value), '')}\n`

/** @param indent spaces before the value's own lines; its content is indented by four more */
function indented(value: unknown, indent: string): string {
  if (typeof value !== 'object' || value === null) return jsonText(value)
  const inner = `${indent}    `
  const parts = Array.isArray(value)
    ? value.map((item) => indented(item, inner))
    : dictionaryEntries(value).map(([key, item]) => `${jsonText(key)}: ${indented(item, inner)}`)
  const [open, close] = Array.isArray(value) ? '[]' : '{}'
  return `${open}\n${parts.map((part) => `${inner}${part}`).join(',\n')}${parts.length > 0 ? '\n' : ''}${indent}${close}`
}

function readable(value: unknown): unknown {
  if (typeof value === 'string')
    return value
      .replace(/[\udc80-\udcff]+/gu, decodeEscaped)
      .replace(/\p{Noncharacter_Code_Point}/gu, '\ufffd')
  if (Array.isArray(value)) return value.map(readable)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, readable(inner)]))
}

/**
 * Decodes bytes that are not UTF-8, which drivers keep as lone surrogates U+DC80 to U+DCFF (one for each
 * byte), as QEMU's JSON does: with its lenient UTF-8 decoder, and U+FFFD for each invalid sequence and each
 * noncharacter (util/unicode.c).
 */
function decodeEscaped(escaped: string): string {
  let text = ''
  for (let at = 0; at < escaped.length; ) {
    const lead = escaped.charCodeAt(at++) - 0xdc00
    const length = lead < 0xc0 || lead > 0xfd ? 1 : Math.clz32(~(lead << 24))
    let code = length === 1 ? 0xd800 : lead & (0x7f >> length)
    let wanted = length
    while (--wanted > 0 && at < escaped.length && escaped.charCodeAt(at) < 0xdcc0)
      code = (code << 6) | (escaped.charCodeAt(at++) & 0x3f)
    const least = [0, 0, 0x80, 0x800, 0x10000][length] ?? Infinity
    const isZero = code === 0 && length === 2
    const isNone = code >= 0xd800 && code < 0xe000
    const isWrong = wanted > 0 || (code < least && !isZero) || code > 0x10ffff || isNone
    text += isWrong ? '\ufffd' : String.fromCodePoint(code)
  }
  return text
}
