/** An image as what makes it of a sound one: small enough to be kept by the thousand, to be made smaller, and to be shown. */
import type { Hostile } from '../mutate.ts'
import type { Seed } from '../seeds.ts'

/** How to make an image. */
export interface Recipe {
  readonly seed: Seed
  /** What is overwritten, in order and apart from each other. */
  readonly edits: readonly Edit[]
  /** Bytes of the image; the seed is cut off, or goes on with zeroes. */
  readonly length: number
  /** Bytes that the file claims to have. */
  readonly fileSize: number
}

/** A stretch of bytes that differs from the seed. */
interface Edit {
  readonly at: number
  readonly bytes: Uint8Array
}

/** Equal bytes between two edits that are kept apart. */
const GAP = 8

/** The recipe of an image. */
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

/** The image. */
export function imageOf({ seed, edits, length, fileSize }: Recipe): Hostile {
  const bytes = new Uint8Array(length)
  bytes.set(seed.bytes.subarray(0, length))
  for (const edit of edits) bytes.set(edit.bytes, edit.at)
  return { bytes, fileSize, story: [] }
}

/** The same in words, from which a case of the corpus can be made. */
export function describeRecipe({ seed, edits, length, fileSize }: Recipe): string {
  const hex = ({ at, bytes }: Edit): string =>
    `  at ${at}: ${Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')}`
  return [`seed '${seed.name}', ${length} bytes in a file of ${fileSize}`, ...edits.map(hex)].join('\n')
}

/** A recipe that still fails, with as few edits, and those as short, as leaving out one after the other leads to. */
export async function minimize(recipe: Recipe, fails: (recipe: Recipe) => Promise<boolean>): Promise<Recipe> {
  let least = recipe
  const attempt = async (change: Partial<Recipe>): Promise<boolean> => {
    const smaller = { ...least, ...change }
    if (smaller.edits.some(({ at, bytes }) => at + bytes.length > smaller.length)) return false
    if (!(await fails(smaller))) return false
    least = smaller
    return true
  }
  await attempt({ fileSize: least.length })
  if (least.length < least.seed.bytes.length)
    await attempt({
      length: least.seed.bytes.length,
      fileSize: Math.max(least.fileSize, least.seed.bytes.length),
    })
  for (let i = least.edits.length - 1; i >= 0; i--)
    await attempt({ edits: least.edits.filter((_, index) => index !== i) })
  for (let i = least.edits.length - 1; i >= 0; i--) {
    const halves = ({ at, bytes }: Edit): Edit[] => {
      const half = bytes.length >> 1
      return [
        { at, bytes: bytes.subarray(0, half) },
        { at: at + half, bytes: bytes.subarray(half) },
      ]
    }
    for (let goesOn = true; goesOn && least.edits[i]!.bytes.length > 1; ) {
      goesOn = false
      for (const half of halves(least.edits[i]!))
        if (!goesOn) goesOn = await attempt({ edits: least.edits.with(i, half) })
    }
  }
  return least
}
