/** Targeted damage: fields that locate, count or size something get the values that break careless code. */
import type { Random } from '@vmblock/block-core/testing'
import { HEADER_BYTES, luksFields, luksHeaderIn } from './luks-header.ts'
import type { Seed } from './seeds.ts'

/** A damaged image. */
export interface Hostile {
  readonly bytes: Uint8Array
  /** Bytes that the file claims to have; the rest is a hole. */
  readonly fileSize: number
  /** The changes, in words. */
  readonly story: readonly string[]
}

/** A field and its offset in a file. */
interface Field {
  readonly name: string
  readonly at: number
  readonly width: 1 | 2 | 4 | 8
}

const TWO_63 = 2n ** 63n
/** Words at the edges of what code may expect. */
export const WORDS: readonly bigint[] = [
  0n,
  1n,
  2n,
  511n,
  512n,
  4096n,
  0x10000n,
  0x200000n,
  2n ** 31n - 1n,
  2n ** 31n,
  2n ** 32n - 1n,
  2n ** 32n,
  2n ** 40n,
  2n ** 47n,
  2n ** 50n,
  2n ** 53n - 1n,
  2n ** 53n,
  2n ** 53n - 512n,
  2n ** 55n,
  2n ** 56n - 512n,
  2n ** 56n,
  2n ** 61n,
  2n ** 62n,
  2n ** 62n + 1n,
  TWO_63 - 512n,
  TWO_63,
  TWO_63 + 1n,
  2n ** 64n - 1n,
]

const QCOW2_HEADER: readonly Field[] = [
  ['version', 4, 4],
  ['backing file offset', 8, 8],
  ['backing file size', 16, 4],
  ['cluster bits', 20, 4],
  ['size', 24, 8],
  ['crypt method', 32, 4],
  ['L1 size', 36, 4],
  ['L1 offset', 40, 8],
  ['refcount table offset', 48, 8],
  ['refcount table clusters', 56, 4],
  ['number of snapshots', 60, 4],
  ['snapshots offset', 64, 8],
  ['incompatible features', 72, 8],
  ['compatible features', 80, 8],
  ['autoclear features', 88, 8],
  ['refcount order', 96, 4],
  ['header length', 100, 4],
  ['compression type', 104, 1],
].map(([name, at, width]) => ({ name, at, width }) as Field)

const QED_HEADER: readonly Field[] = [
  ['cluster size', 4, 4],
  ['table size', 8, 4],
  ['header size', 12, 4],
  ['features', 16, 8],
  ['compatible features', 24, 8],
  ['autoclear features', 32, 8],
  ['L1 offset', 40, 8],
  ['image size', 48, 8],
  ['backing name offset', 56, 4],
  ['backing name size', 60, 4],
].map(([name, at, width]) => ({ name, at, width }) as Field)

/** Writes whole numbers in the byte order of a format. */
class Pen {
  readonly bytes: Uint8Array
  readonly story: string[] = []
  readonly #little: boolean

  constructor(bytes: Uint8Array, little: boolean) {
    this.bytes = bytes
    this.#little = little
  }

  get #view(): DataView {
    return new DataView(this.bytes.buffer, this.bytes.byteOffset, this.bytes.byteLength)
  }

  word(at: number, width: Field['width'] = 8): bigint {
    if (at < 0 || at + width > this.bytes.length) return 0n
    if (width === 8) return this.#view.getBigUint64(at, this.#little)
    if (width === 4) return BigInt(this.#view.getUint32(at, this.#little))
    return BigInt(width === 2 ? this.#view.getUint16(at, this.#little) : this.bytes[at]!)
  }

  poke({ name, at, width }: Field, value: bigint): void {
    if (at < 0 || at + width > this.bytes.length) return
    this.story.push(`${name} (${width} bytes at ${at}) = 0x${value.toString(16)}`)
    if (width === 8) this.#view.setBigUint64(at, value, this.#little)
    else if (width === 4) this.#view.setUint32(at, Number(value & 0xffff_ffffn), this.#little)
    else if (width === 2) this.#view.setUint16(at, Number(value & 0xffffn), this.#little)
    else this.bytes[at] = Number(value & 0xffn)
  }
}

/** Picks a field of one of an image's structures. */
function fieldsOf(pen: Pen, seed: Seed, random: Random): Field {
  if (seed.driver === 'raw') return { name: 'byte', at: random.int(0, pen.bytes.length), width: 1 }
  return seed.driver === 'qed' ? qedField(pen, random) : qcow2Field(pen, seed, random)
}

const entry = (name: string, at: number, width: Field['width'] = 8): Field => ({ name, at, width })

function qcow2Field(pen: Pen, seed: Seed, random: Random): Field {
  const clusterSize = 2 ** Math.min(Number(pen.word(20, 4)), 21)
  const offset = (at: number): number => Number(pen.word(at) & 0x00ff_ffff_ffff_fe00n)
  const l1 = offset(40)
  const l1Entries = Math.max(1, Math.min(Number(pen.word(36, 4)), 64))
  const table = offset(48)
  const used = (start: number, count: number): number[] => {
    const found = Array.from({ length: count }, (_, index) => offset(start + index * 8))
    return found.filter((target) => target > 0 && target < pen.bytes.length)
  }
  const l2 = (): number => random.pick([...used(l1, l1Entries), l1])
  const few = Math.min(48, clusterSize / 8)
  const kinds: (() => Field)[] = [
    () => random.pick(QCOW2_HEADER),
    () => random.pick(QCOW2_HEADER),
    () => entry('extension', 104 + 4 * random.int(0, 40), 4),
    () => entry('extension, wide', 104 + 8 * random.int(0, 40)),
    () => entry('L1 entry', l1 + 8 * random.int(0, l1Entries)),
    () => entry('L2 entry', l2() + 8 * random.int(0, few)),
    () => entry('L2 entry', l2() + 8 * random.int(0, few)),
    () => entry('L2 entry', l2() + 8 * random.int(0, few)),
    () => entry('refcount table entry', table + 8 * random.int(0, 4)),
    () =>
      entry(
        'refcounts',
        random.pick([...used(table, 8), table]) + 2 * random.int(0, few),
        random.pick([1, 2, 8]),
      ),
  ]
  if (pen.word(60, 4) > 0n) {
    const snapshots = offset(64)
    kinds.push(() => entry('snapshot table', snapshots + random.pick([0, 8, 12, 14, 36, 40, 48, 56]), 8))
    kinds.push(() => entry('snapshot table', snapshots + random.int(0, 200), random.pick([1, 2, 4, 8])))
  }
  const bitmaps = bitmapExtension(pen)
  if (bitmaps !== undefined) {
    const directory = offset(bitmaps + 16)
    kinds.push(() => entry('bitmap extension', bitmaps + 4 * random.int(0, 6), 4))
    kinds.push(() => entry('bitmap extension', bitmaps + 8 * random.int(0, 3)))
    kinds.push(() => entry('bitmap directory', directory + 2 * random.int(0, 24), random.pick([1, 2, 4, 8])))
    kinds.push(() => entry('bitmap table', offset(directory) + 8 * random.int(0, 4)))
  }
  const luks = seed.key ? luksHeaderIn(pen.bytes) : -1
  if (luks >= 0) {
    const field = (): number => luks + random.pick(luksFields(random.int(0, 8)))
    kinds.push(() => entry('LUKS header', field(), 4))
    kinds.push(() => entry('LUKS header', field(), 4))
    kinds.push(() => entry('LUKS header', luks + random.int(0, HEADER_BYTES), 1))
  }
  const data = (): number => {
    const at = l2() + 8 * random.int(0, few)
    const target = Number(pen.word(at) & (2n ** 50n - 1n))
    return target > 0 && target < pen.bytes.length ? target : clusterSize
  }
  kinds.push(() => entry('data', data() + random.int(0, 64), 1))
  return random.pick(kinds)()
}

function bitmapExtension(pen: Pen): number | undefined {
  for (let at = Number(pen.word(100, 4)); at < 1000; ) {
    const type = pen.word(at, 4)
    if (type === 0n) return undefined
    if (type === 0x23852875n) return at + 8
    at += 8 + Math.ceil(Number(pen.word(at + 4, 4)) / 8) * 8
  }
  return undefined
}

function qedField(pen: Pen, random: Random): Field {
  const l1 = Number(pen.word(40))
  const l2 = Number(pen.word(l1))
  return random.pick([
    () => random.pick(QED_HEADER),
    () => entry('L1 entry', l1 + 8 * random.int(0, 8)),
    () => entry('L2 entry', l2 + 8 * random.int(0, 64)),
    () => entry('L2 entry', l2 + 8 * random.int(0, 64)),
  ])()
}

/** An unexpected value: an edge, a neighbor, another structure's offset, noise. */
function valueFor(pen: Pen, { at, width }: Field, random: Random, seed: Seed): bigint {
  const old = pen.word(at, width)
  const flags = random.pick([0n, TWO_63, 2n ** 62n, 1n, TWO_63 + 1n])
  const clusters = BigInt(Math.max(1, Math.floor(pen.bytes.length / 4096)))
  const kinds: (() => bigint)[] = [
    () => random.pick(WORDS),
    () => random.pick(WORDS) | flags,
    () => old ^ (1n << BigInt(random.int(0, width * 8))),
    () => old + BigInt(random.int(-2, 3)),
    () => (BigInt(random.int(0, Number(clusters))) * 4096n) | flags,
    () => (BigInt(Math.floor(at / 4096)) * 4096n) | flags,
    () => pen.word(random.pick(seed.driver === 'qed' ? [40] : [40, 48, 64])) | flags,
    () => BigInt(random.int(0, 2 ** 53)),
    () => BigInt(random.int(0, 2 ** 32)) * 2n ** 32n + BigInt(random.int(0, 2 ** 32)),
  ]
  return BigInt.asUintN(64, random.pick(kinds)())
}

/** Makes one hostile image. */
export function mutate(seed: Seed, random: Random): Hostile {
  const pen = new Pen(seed.bytes.slice(), seed.driver === 'qed')
  for (let count = random.pick([1, 1, 1, 2, 3, 6]); count > 0; count--) {
    const field = fieldsOf(pen, seed, random)
    pen.poke(field, valueFor(pen, field, random, seed))
  }
  let { bytes } = pen
  if (random.chance(0.05)) {
    bytes = bytes.subarray(0, random.int(0, bytes.length))
    pen.story.push(`cut off at ${bytes.length}`)
  }
  // A sparse file costs nothing, and makes every offset lie inside it.
  const fileSize = random.chance(0.3)
    ? random.pick([2 ** 33, 2 ** 40, 2 ** 47, 2 ** 50, 2 ** 53 - 1])
    : bytes.length
  if (fileSize !== bytes.length) pen.story.push(`file of ${fileSize} bytes`)
  return { bytes, fileSize: Math.max(fileSize, bytes.length), story: pen.story }
}
