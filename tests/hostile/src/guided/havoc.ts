/** Random damage in quantity, beyond what knowledge of a format would suggest. */
import type { Random } from '@vmblock/block-core/testing'
import { type Hostile, mutate, WORDS } from '../mutate.ts'
import type { Seed } from '../seeds.ts'

/** The material for havoc. */
export interface Pantry {
  /** Words that the code compares with. */
  readonly numbers: readonly bigint[]
  /** Returns another image that was kept. */
  other(): Uint8Array
}

const WIDTHS = [1, 2, 4, 8] as const
type Width = (typeof WIDTHS)[number]

/** The offset of byte `i` of a word, counted from the least significant. */
const byteAt = (at: number, width: Width, i: number, little: boolean): number =>
  little ? at + i : at + width - 1 - i

function write(bytes: Uint8Array, at: number, width: Width, value: bigint, little: boolean): void {
  for (let i = 0; i < width; i++)
    bytes[byteAt(at, width, i, little)] = Number((value >> BigInt(8 * i)) & 0xffn)
}

function read(bytes: Uint8Array, at: number, width: Width, little: boolean): bigint {
  let value = 0n
  for (let i = 0; i < width; i++) value |= BigInt(bytes[byteAt(at, width, i, little)]!) << BigInt(8 * i)
  return value
}

/** An offset for a word: often in the header, seldom in zeroes. */
function offsetFor(bytes: Uint8Array, width: Width, random: Random): number {
  const end = Math.floor((random.chance(0.3) ? Math.min(256, bytes.length) : bytes.length) / width)
  for (let tries = 0; ; tries++) {
    const at = random.int(0, end) * width
    if (tries === 8 || bytes.subarray(at, at + 8).some((byte) => byte !== 0)) return at
  }
}

/** Ways to change an array of at least 16 bytes in place. */
const WAYS: readonly ((bytes: Uint8Array, little: boolean, random: Random, pantry: Pantry) => void)[] = [
  (bytes, _, random) => {
    bytes[offsetFor(bytes, 1, random)]! ^= 1 << random.int(0, 8)
  },
  (bytes, little, random, { numbers }) => {
    const width = random.pick(WIDTHS)
    const value = random.pick(random.chance(0.5) ? numbers : WORDS)
    write(bytes, offsetFor(bytes, width, random), width, value, little)
  },
  (bytes, little, random) => {
    const width = random.pick(WIDTHS)
    const at = offsetFor(bytes, width, random)
    const step = BigInt(random.int(-16, 17)) * random.pick([1n, 1n, 8n, 512n])
    write(bytes, at, width, read(bytes, at, width, little) + step, little)
  },
  // A word of this image, or of another, at another offset: pointers to existing structures.
  (bytes, little, random, pantry) => {
    const from = random.chance(0.7) ? bytes : pantry.other()
    const width = random.pick([4, 8] as const)
    if (from.length < 16) return
    const value = read(from, offsetFor(from, width, random), width, little)
    write(bytes, offsetFor(bytes, width, random), width, value, little)
  },
  (bytes, _, random, pantry) => {
    const from = random.chance(0.5) ? bytes : pantry.other()
    const unit = random.pick([1, 8, 512])
    const length = unit * random.int(1, 17)
    const source = random.int(0, Math.ceil(from.length / unit)) * unit
    const at = random.chance(0.5) ? source : random.int(0, Math.ceil(bytes.length / unit)) * unit
    if (at < bytes.length) bytes.set(from.subarray(source, source + Math.min(length, bytes.length - at)), at)
  },
  (bytes, _, random) => {
    const at = random.int(0, bytes.length)
    bytes.fill(random.pick([0, 0, 0xff, 0x80]), at, at + random.pick([1, 8, 64, 512]))
  },
]

/** A child of an image, made by {@link mutate}, by havoc, or by both. */
export function havoc(
  seed: Seed,
  { bytes, fileSize }: Pick<Hostile, 'bytes' | 'fileSize'>,
  random: Random,
  pantry: Pantry,
): Pick<Hostile, 'bytes' | 'fileSize'> {
  let changed: Uint8Array = bytes.slice()
  let size = fileSize
  if (random.chance(0.5)) {
    const { bytes: mutated, fileSize: claimed } = mutate({ ...seed, bytes: changed }, random)
    changed = mutated
    size = random.chance(0.5) ? Math.max(changed.length, size) : claimed
    if (random.chance(0.5)) return { bytes: changed, fileSize: size }
  }
  if (changed.length >= 16)
    for (let count = random.pick([1, 1, 2, 2, 4, 8]); count > 0; count--)
      random.pick(WAYS)(changed, seed.driver === 'qed', random, pantry)
  return { bytes: changed, fileSize: Math.max(changed.length, size) }
}
