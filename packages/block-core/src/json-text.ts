/**
 * JSON as QEMU's tools print it, and the order in which QEMU goes through a dictionary. Names of nodes are made of
 * it, and scripts compare the text: its spacing, escapes and order are QEMU's.
 */

/** The number of lists in which a QEMU dictionary keeps its keys (QDICT_BUCKET_MAX). */
const BUCKETS = 512

/** The list that holds a key: QEMU's hash of it (the one of Samba's tdb), modulo the number of lists. */
function bucketOf(key: string): number {
  const bytes = new TextEncoder().encode(key)
  let value = Math.imul(0x238f13af, bytes.length)
  bytes.forEach((byte, index) => {
    value = (value + (byte << ((index * 5) % 24))) | 0
  })
  return ((Math.imul(1103515243, value) + 12345) >>> 0) % BUCKETS
}

/** The entries of an object in the order in which QEMU goes through a dictionary; undefined values are left out. */
export function dictionaryEntries(object: object): [key: string, value: unknown][] {
  const entries = Object.entries(object).filter(([, value]) => value !== undefined)
  // Within a list the newest key comes first.
  return entries
    .map((entry, index) => ({ entry, index, bucket: bucketOf(entry[0]) }))
    .sort((a, b) => a.bucket - b.bucket || b.index - a.index)
    .map(({ entry }) => entry)
}

const ESCAPES: Readonly<Record<string, string>> = {
  '"': '\\"',
  '\\': '\\\\',
  '\b': '\\b',
  '\f': '\\f',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
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

const quoted = (text: string): string =>
  `"${text
    .replace(/[\udc80-\udcff]+/gu, decodeEscaped)
    .replace(/\p{Noncharacter_Code_Point}/gu, '\ufffd')
    .replace(
      // biome-ignore lint/suspicious/noControlCharactersInRegex: those are what must be escaped
      /["\\\u0000-\u001f\u007f-\uffff]/g,
      (char) => ESCAPES[char] ?? `\\u${char.charCodeAt(0).toString(16).toUpperCase().padStart(4, '0')}`,
    )}"`

/**
 * JSON text of a value, keys in QEMU's order.
 *
 * @param indent blanks before the value's own lines, its content being indented by four more; without it all is
 *   in one line
 */
export function jsonText(value: unknown, indent?: string): string {
  if (typeof value === 'string') return quoted(value)
  if (typeof value !== 'object' || value === null) return String(value)
  const inner = indent === undefined ? undefined : `${indent}    `
  const parts = Array.isArray(value)
    ? value.map((item) => jsonText(item, inner))
    : dictionaryEntries(value).map(([key, item]) => `${quoted(key)}: ${jsonText(item, inner)}`)
  const [open, close] = Array.isArray(value) ? '[]' : '{}'
  if (inner === undefined) return `${open}${parts.join(', ')}${close}`
  return `${open}\n${parts.map((part) => `${inner}${part}`).join(',\n')}${parts.length > 0 ? '\n' : ''}${indent}${close}`
}
