/** Names of feature bits: the table that images carry, and the message for unknown bits. */

import { encodeName } from './encode-name.ts'
import { ExtensionType, walkExtensions } from './extensions.ts'
import { decodeName } from './words.ts'

/** The header words of feature bits, as the feature name table numbers them. */
export const FeatureWord = { incompatible: 0, compatible: 1, autoclear: 2 } as const

/** One row of a feature name table. */
export interface FeatureName {
  /** See {@link FeatureWord}; a broken table may hold anything. */
  readonly word: number
  /** 0 to 63; a broken table may hold up to 255. */
  readonly bit: number
  /** At most 46 bytes. */
  readonly name: string
}

/** The table that QEMU 7.2 writes, in its order (taken from an image that it created). */
// biome-ignore format: a table
export const FEATURE_NAMES: readonly FeatureName[] = [
  { word: 0, bit: 0, name: 'dirty bit' },
  { word: 0, bit: 1, name: 'corrupt bit' },
  { word: 0, bit: 2, name: 'external data file' },
  { word: 0, bit: 3, name: 'compression type' },
  { word: 0, bit: 4, name: 'extended L2 entries' },
  { word: 1, bit: 0, name: 'lazy refcounts' },
  { word: 2, bit: 0, name: 'bitmaps' },
  { word: 2, bit: 1, name: 'raw external data' },
]

const FEATURE_ROW = 48
const FEATURE_NAME_MAX = 46

function parseFeatureNames(data: Uint8Array): FeatureName[] {
  const names: FeatureName[] = []
  // A last row that is cut short still has a name.
  for (let at = 0; at + 2 < data.length; at += FEATURE_ROW)
    names.push({
      word: data[at]!,
      bit: data[at + 1]!,
      name: decodeName(data.subarray(at + 2, at + FEATURE_ROW)),
    })
  return names
}

/** A feature name table as bytes. */
export function featureTable(names: readonly FeatureName[]): Uint8Array {
  const table = new Uint8Array(names.length * FEATURE_ROW)
  names.forEach(({ word, bit, name }, row) => {
    table.set([word, bit], row * FEATURE_ROW)
    table.set(encodeName(name).subarray(0, FEATURE_NAME_MAX), row * FEATURE_ROW + 2)
  })
  return table
}

/** The feature name table of a header that may be broken otherwise. */
export function findFeatureNames(bytes: Uint8Array, start: number, end: number): FeatureName[] {
  let names: FeatureName[] = []
  try {
    for (const { type, data } of walkExtensions(bytes, start, end))
      if (type === ExtensionType.featureNames) names = parseFeatureNames(data)
  } catch {
    // The names before the break are kept; the caller has a better error to report.
  }
  return names
}

/**
 * Names incompatible bits by the image's own table, and the rest by number, in QEMU's words. A row without a
 * name ends the table.
 *
 * @param bytes of the header; its extensions are between `start` and `end`
 */
export function describeUnknown(bits: bigint, bytes: Uint8Array, start: number, end: number): string {
  const parts: string[] = []
  let left = bits
  for (const { word, bit, name } of findFeatureNames(bytes, start, end)) {
    if (name === '') break
    if (word !== FeatureWord.incompatible || bit > 63 || (left & (1n << BigInt(bit))) === 0n) continue
    parts.push(name)
    left &= ~(1n << BigInt(bit))
  }
  if (left !== 0n) parts.push(`Unknown incompatible feature: ${left.toString(16)}`)
  return parts.join(', ')
}
