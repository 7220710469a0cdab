/**
 * GUIDs: 128-bit numbers, as the file has them in little-endian order. Their text form has the bytes of the first three
 * groups in reverse.
 */

/** A GUID, as a number of 128 bits. */
export type Guid = bigint

/** No GUID: in a header's log GUID, it says that the log is empty. */
export const NO_GUID: Guid = 0n

const LOW = 2n ** 64n - 1n

/** Joins the two 64-bit words that a GUID has on disk. */
export const joinGuid = (low: bigint, high: bigint): Guid => low | (high << 64n)

/** The two 64-bit words of a GUID. */
export const guidWords = (guid: Guid): { readonly low: bigint; readonly high: bigint } => ({
  low: guid & LOW,
  high: guid >> 64n,
})

/** The sixteen bytes of a text without dashes, in the order of the file. */
const inFileOrder = (digits: readonly string[]): string[] => [
  ...digits.slice(0, 4).reverse(),
  ...digits.slice(4, 6).reverse(),
  ...digits.slice(6, 8).reverse(),
  ...digits.slice(8),
]

/** Reads `2DC27766-F623-4200-9D64-115E9BFD4A08`, in braces or not. @returns undefined if it is no GUID */
export function parseGuid(text: string): Guid | undefined {
  const match = /^\{?([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})\}?$/i.exec(text.trim())
  if (!match) return undefined
  const digits = match[1]!.replaceAll('-', '').match(/../g)!
  return BigInt(`0x${inFileOrder(digits).reverse().join('')}`)
}

/** The text form of a GUID, in capitals and without braces. */
export function guidText(guid: Guid): string {
  const digits = guid.toString(16).toUpperCase().padStart(32, '0').match(/../g)!.reverse()
  const text = inFileOrder(digits).join('')
  return text.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')
}

/** A GUID that the format defines. */
export const knownGuid = (text: string): Guid => parseGuid(text)!

/** A new random GUID (version 4). */
export function randomGuid(): Guid {
  const bytes = crypto.getRandomValues(new Uint8Array(16))
  bytes[7] = (bytes[7]! & 0x0f) | 0x40
  bytes[8] = (bytes[8]! & 0x3f) | 0x80
  return bytes.reduceRight((guid, byte) => (guid << 8n) | BigInt(byte), 0n)
}
