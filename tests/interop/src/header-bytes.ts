/**
 * The first cluster of a qcow2 file, parsed and built according to the published specification, not with the
 * code of our driver.
 * @module
 */

/** A header extension as it is stored. */
export interface Extension {
  readonly type: number
  readonly data: Uint8Array
}

/** Extension type of the feature name table. */
export const FEATURE_NAMES = 0x6803f857

/** Offsets of the feature words, in bytes from the start of the file. */
export const FEATURES = { incompatible: 72, compatible: 80, autoclear: 88 } as const

/** Bytes of the header with a known meaning: up to the compression type and its padding. */
export const KNOWN_HEADER = 112

/** Byte offset of the field that holds the header's length. */
const HEADER_LENGTH_AT = 100

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)

/** The feature word at one of {@link FEATURES}. */
export const wordAt = (file: Uint8Array, at: number): bigint => viewOf(file).getBigUint64(at)

/** Sets bits of a feature word. */
export function setBits(file: Uint8Array, at: number, ...bits: readonly number[]): void {
  const word = bits.reduce((all, bit) => all | (1n << BigInt(bit)), wordAt(file, at))
  viewOf(file).setBigUint64(at, word)
}

/** Length of the header in bytes, without its extensions. */
export const headerLength = (file: Uint8Array): number => viewOf(file).getUint32(HEADER_LENGTH_AT)

/** The extensions, in order. */
export function extensionsOf(file: Uint8Array): Extension[] {
  const view = viewOf(file)
  const found: Extension[] = []
  for (let at = headerLength(file); ; ) {
    const type = view.getUint32(at)
    if (type === 0) return found
    const length = view.getUint32(at + 4)
    found.push({ type, data: file.slice(at + 8, at + 8 + length) })
    at += 8 + Math.ceil(length / 8) * 8
  }
}

/** The bytes of the header after the known ones. */
export const bytesBehind = (file: Uint8Array): Uint8Array => file.slice(KNOWN_HEADER, headerLength(file))

/** Rewrites what follows the known header of an image without a backing file. */
export function rewriteHeader(file: Uint8Array, behind: Uint8Array, extensions: readonly Extension[]): void {
  const clusterSize = 2 ** viewOf(file).getUint32(20)
  file.fill(0, KNOWN_HEADER, clusterSize)
  file.set(behind, KNOWN_HEADER)
  viewOf(file).setUint32(HEADER_LENGTH_AT, KNOWN_HEADER + behind.length)
  let at = KNOWN_HEADER + behind.length
  for (const { type, data } of extensions) {
    viewOf(file).setUint32(at, type)
    viewOf(file).setUint32(at + 4, data.length)
    file.set(data, at + 8)
    at += 8 + Math.ceil(data.length / 8) * 8
  }
}

/** A row of the feature name table. @param word 0 incompatible, 1 compatible, 2 autoclear */
export function featureRow(word: number, bit: number, name: string): Uint8Array {
  const row = new Uint8Array(48)
  row.set([word, bit])
  row.set(new TextEncoder().encode(name), 2)
  return row
}
