/**
 * JSON as QEMU's tools print it, and the order in which QEMU iterates over a dictionary. Node names contain
 * such text, and scripts compare it: spacing, escapes and order are QEMU's.
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

/** The entries of an object in QEMU's iteration order for dictionaries; undefined values are left out. */
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

const quoted = (text: string): string =>
  `"${text.replace(
    // biome-ignore lint/suspicious/noControlCharactersInRegex: those are what must be escaped
    /["\\\u0000-\u001f\u007f-\uffff]/g,
    (char) => ESCAPES[char] ?? `\\u${char.charCodeAt(0).toString(16).toUpperCase().padStart(4, '0')}`,
  )}"`

/** JSON text of a value on one line, keys in QEMU's order. */
export function jsonText(value: unknown): string {
  if (typeof value === 'string') return quoted(value)
  if (typeof value !== 'object' || value === null) return String(value)
  if (Array.isArray(value)) return `[${value.map(jsonText).join(', ')}]`
  const parts = dictionaryEntries(value).map(([key, item]) => `${quoted(key)}: ${jsonText(item)}`)
  return `{${parts.join(', ')}}`
}
