/** Facts of one format as QEMU's tools print them for people: nested `key: value` lines in the order of a hash table. */

const BUCKETS = 512

/** The hash of QEMU's QDict (qobject/qdict.c), which decides the order in which keys are printed. */
function bucketOf(key: string): number {
  const bytes = new TextEncoder().encode(key)
  let value = Math.imul(0x238f13af, bytes.length)
  bytes.forEach((byte, i) => {
    value = (value + (byte << ((i * 5) % 24))) | 0
  })
  return ((Math.imul(1103515243, value) + 12345) >>> 0) % BUCKETS
}

/** Keys in the order in which a QDict gives them: by bucket, and in one bucket the newest first. */
export const qdictOrder = (keys: readonly string[]): readonly string[] =>
  [...keys].reverse().sort((a, b) => bucketOf(a) - bucketOf(b))

const isGroup = (value: unknown): value is object => typeof value === 'object' && value !== null

/** The lines of a group of facts; four spaces for each level. */
export function formatSpecificText(data: Readonly<Record<string, unknown>>, level = 1): string {
  return qdictOrder(Object.keys(data).filter((key) => data[key] !== undefined))
    .map((key) => line(key.replaceAll('-', ' '), data[key], level))
    .join('')
}

function line(label: string, value: unknown, level: number): string {
  const head = `${'    '.repeat(level)}${label}:`
  if (!isGroup(value)) return `${head} ${String(value)}\n`
  const inner = Array.isArray(value)
    ? value.map((item, index) => line(`[${index}]`, item, level + 1)).join('')
    : formatSpecificText(value as Readonly<Record<string, unknown>>, level + 1)
  return `${head}\n${inner}`
}
