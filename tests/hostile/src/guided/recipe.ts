/** An image as its differences from a sound one: small enough to keep thousands, minimize, and print. */
import type { Hostile } from '../mutate.ts'
import type { Seed } from '../seeds.ts'

/** How to make an image. */
export interface Recipe {
  readonly seed: Seed
  /** The bytes that are overwritten, in order and without overlaps. */
  readonly edits: readonly Edit[]
  /** Bytes of the image; the seed is truncated, or extended with zeroes. */
  readonly length: number
  /** Bytes that the file claims to have. */
  readonly fileSize: number
}

/** A stretch of bytes that differs from the seed. */
interface Edit {
  readonly at: number
  readonly bytes: Uint8Array
}

/** Number of equal bytes that separates two edits. */
const GAP = 8

/** Returns the recipe of an image. */
export function recipeOf(seed: Seed, { bytes, fileSize }: Pick<Hostile, 'bytes' | 'fileSize'>): Recipe {
  const edits: Edit[] = []
  let start = -1
  let end = -1
  for (let at = 0; at <= bytes.length; at++) {
    if (at < bytes.length && bytes[at] !== (seed.bytes[at] ?? 0)) {
      if (start < 0) start = at
      end = at + 1
    } else if (start >= 0 && (at === bytes.length || at - end >= GAP)) {
      edits.push({ at: start, bytes: bytes.slice(start, end) })
      start = -1
    }
  }
  return { seed, edits, length: bytes.length, fileSize }
}

/** Returns the image of a recipe. */
export function imageOf({ seed, edits, length, fileSize }: Recipe): Hostile {
  const bytes = new Uint8Array(length)
  bytes.set(seed.bytes.subarray(0, length))
  for (const edit of edits) bytes.set(edit.bytes, edit.at)
  return { bytes, fileSize, story: [] }
}

/** A recipe in words, from which a case of the corpus can be made. */
export function describeRecipe({ seed, edits, length, fileSize }: Recipe): string {
  const hex = ({ at, bytes }: Edit): string =>
    `  at ${at}: ${Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')}`
  return [`seed '${seed.name}', ${length} bytes in a file of ${fileSize}`, ...edits.map(hex)].join('\n')
}

/** Splits edits at the multiples of `unit`. */
const split = (edits: readonly Edit[], unit: number): Edit[] =>
  edits.flatMap(({ at, bytes }) => {
    const parts: Edit[] = []
    for (let start = at; start < at + bytes.length; ) {
      const end = Math.min(at + bytes.length, (Math.floor(start / unit) + 1) * unit)
      parts.push({ at: start, bytes: bytes.subarray(start - at, end - at) })
      start = end
    }
    return parts
  })

/** Returns a recipe that still fails, as small as leaving out one part after another makes it. */
export async function minimize(recipe: Recipe, fails: (recipe: Recipe) => Promise<boolean>): Promise<Recipe> {
  let least = recipe
  const attempt = async (change: Partial<Recipe>): Promise<void> => {
    const smaller = { ...least, ...change }
    if (await fails(smaller)) least = smaller
  }
  await attempt({ fileSize: least.length })
  const whole = Math.max(least.length, least.seed.bytes.length)
  await attempt({ length: whole, fileSize: Math.max(least.fileSize, whole) })
  for (const unit of [4096, 512, 64, 8, 1]) {
    least = { ...least, edits: split(least.edits, unit) }
    for (let i = least.edits.length - 1; i >= 0; i--)
      await attempt({ edits: least.edits.filter((_, index) => index !== i) })
  }
  return recipeOf(least.seed, imageOf(least))
}
