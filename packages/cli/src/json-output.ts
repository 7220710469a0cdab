/** What the programs print as JSON: QEMU's text of it, also of names that are no UTF-8. */
import { jsonText } from '@vmblock/block-core'

/** A value as JSON in lines, with its newline. */
export const jsonOutput = (value: unknown): string => `${jsonText(readable(value), '')}\n`

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
 * Bytes of a name that are no UTF-8, which drivers keep as lone surrogates U+DC80 to U+DCFF (one a byte), as QEMU's JSON has them: what
 * they would be of a longer name in UTF-8, U+FFFD for each sequence that is wrong, and for what is no character (util/unicode.c).
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
