/** Images that once exposed a bug, or were devised to: each a change to a sound image. */
import { deflateRawSync } from 'node:zlib'
import type { Hostile } from './mutate.ts'

/** One image. */
export interface Case {
  readonly name: string
  /** Name of the seed that is changed. */
  readonly seed: string
  /** Bytes that the file claims to have, if more than it has. */
  readonly fileSize?: number
  /** The pass that exposed the bug, for short runs. Default: a check. */
  readonly pass?: 'read-write'
  change(image: Pen): void
}

/** The factor by which tables are larger in long runs. */
export const SCALE = process.env['HOSTILE_RUNS'] === undefined ? 1 : 8

const ALL_ONES = 2n ** 64n - 1n
/** The flag of entries whose cluster has one owner. */
export const COPIED = 2n ** 63n
const COMPRESSED = 2n ** 62n

/** Writes, big-endian by default, anywhere in a file that grows as needed. */
export class Pen {
  #all: Uint8Array
  #length: number

  constructor(bytes: Uint8Array) {
    this.#all = bytes.slice()
    this.#length = bytes.length
  }

  get bytes(): Uint8Array {
    return this.#all.subarray(0, this.#length)
  }

  get #view(): DataView {
    return new DataView(this.#all.buffer)
  }
  #reach(end: number): void {
    this.#length = Math.max(this.#length, end)
    if (end <= this.#all.length) return
    const longer = new Uint8Array(2 * end)
    longer.set(this.#all)
    this.#all = longer
  }

  u16(at: number, value: number): void {
    this.#reach(at + 2)
    this.#view.setUint16(at, value)
  }
  u32(at: number, value: number): void {
    this.#reach(at + 4)
    this.#view.setUint32(at, value)
  }
  u64(at: number, value: bigint): void {
    this.#reach(at + 8)
    this.#view.setBigUint64(at, value)
  }
  le32(at: number, value: number): void {
    this.#reach(at + 4)
    this.#view.setUint32(at, value, true)
  }
  le64(at: number, value: bigint): void {
    this.#reach(at + 8)
    this.#view.setBigUint64(at, value, true)
  }
  put(at: number, bytes: Uint8Array): void {
    this.#reach(at + bytes.length)
    this.#all.set(bytes, at)
  }
  offset(at: number): number {
    return Number(this.#view.getBigUint64(at) & 0x00ff_ffff_ffff_fe00n)
  }
  get clusterBits(): number {
    return this.#view.getUint32(20)
  }
  get clusterSize(): number {
    return 2 ** this.clusterBits
  }
  get l1(): number {
    return this.offset(40)
  }
  get l2(): number {
    return this.offset(this.l1)
  }
  get refcountTable(): number {
    return this.offset(48)
  }
  /** The end of the file, rounded up to a cluster. */
  get end(): number {
    return Math.ceil(this.bytes.length / this.clusterSize) * this.clusterSize
  }

  /** Makes the first cluster a compressed one. */
  compressed(stream: Uint8Array): void {
    const { end, clusterBits } = this
    const sectors = Math.ceil(stream.length / 512) - 1
    this.put(end, stream)
    this.u64(this.l2, COMPRESSED | (BigInt(sectors) << BigInt(62 - (clusterBits - 8))) | BigInt(end))
  }
}

/** A zstd frame of run-length blocks, each a few bytes that expand to 128 KiB. */
function zstdRuns(blocks: number, window: number): Uint8Array {
  const bytes = [0x28, 0xb5, 0x2f, 0xfd, 0x00, window]
  for (let i = 0; i < blocks; i++) {
    const header = (i === blocks - 1 ? 1 : 0) | (1 << 1) | ((128 * 1024) << 3)
    bytes.push(header & 255, (header >> 8) & 255, (header >> 16) & 255, 65)
  }
  return Uint8Array.from(bytes)
}

/** Frames that expand to nothing. */
const zstdSkips = (count: number): Uint8Array =>
  Uint8Array.from(Array.from({ length: count }, () => [0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0]).flat())

/** All cases. */
export const CORPUS: readonly Case[] = [
  {
    name: 'a sparse file of 2^50 bytes, whose end a shrinking looked for cluster by cluster',
    seed: 'lazy',
    fileSize: 2 ** 50,
    change: (image) => image.u64(image.l1, COPIED | 0x4_0002n),
  },
  {
    name: 'an L1 table that lies over the whole file',
    seed: 'lazy',
    change: (image) => image.u32(36, 0x64000),
  },
  {
    name: 'a large L1 table, each entry the same L2 table',
    seed: 'plain',
    change(image) {
      const { end, l2 } = image
      image.u64(40, BigInt(end))
      image.u32(36, SCALE * 2 ** 9)
      for (let i = 0; i < SCALE * 2 ** 9; i++) image.u64(end + i * 8, COPIED | BigInt(l2))
    },
  },
  {
    name: 'tables of the largest size in a hole',
    seed: 'plain',
    fileSize: 2 ** 50,
    change(image) {
      image.u64(40, 2n ** 40n)
      image.u32(36, 2 ** 22)
      image.u64(48, 2n ** 41n)
      image.u32(56, 128)
    },
  },
  {
    name: 'an L2 table full of zero clusters out of place, each of which a repair flushed',
    seed: 'large clusters',
    change(image) {
      const { l2, clusterSize } = image
      for (let i = 0; i < clusterSize / 8; i += 8 / SCALE) image.u64(l2 + i * 8, 0x1001n)
    },
  },
  {
    name: 'an L2 table of which each entry is in the range of another refcount block',
    seed: 'plain',
    fileSize: 2 ** 46,
    change(image) {
      const { l2, clusterSize } = image
      for (let i = 0; i < clusterSize / 8; i += 32 / SCALE)
        image.u64(l2 + i * 8, COPIED | BigInt((i + 1) * 2 ** 31))
    },
  },
  {
    name: 'the same with the largest clusters',
    seed: 'large clusters',
    fileSize: 2 ** 51,
    change(image) {
      const { l2, clusterSize } = image
      for (let i = 0; i < clusterSize / 8; i += 32_768 / SCALE)
        image.u64(l2 + i * 8, COPIED | BigInt((i + 1) * 2 ** 33))
    },
  },
  {
    name: 'more snapshots than there can be, which only a check looks at',
    seed: 'old',
    change: (image) => image.u32(60, 0xec8a8688),
  },
  {
    name: 'as many snapshots as there can be, in a hole',
    seed: 'plain',
    fileSize: 2 ** 50,
    change(image) {
      image.u32(60, 65_536)
      image.u64(64, 2n ** 40n)
    },
  },
  {
    name: 'a great many snapshots, each with the L1 table of the image',
    seed: 'small clusters',
    change(image) {
      const { end, l1 } = image
      image.u32(60, SCALE * 8192)
      image.u64(64, BigInt(end))
      for (let i = 0; i < SCALE * 8192; i++) {
        image.u64(end + i * 40, BigInt(l1))
        image.u32(end + i * 40 + 8, 32)
      }
    },
  },
  {
    name: 'refcounts of one bit, the refcount table over the whole file',
    seed: 'subclusters',
    change(image) {
      image.u32(96, 0)
      image.u32(56, 0x81)
    },
  },
  {
    name: 'a refcount table whose blocks are all the same, in a file that is a hole',
    seed: 'plain',
    fileSize: 2 ** 46,
    change(image) {
      const block = image.offset(image.refcountTable)
      for (let i = 0; i < SCALE * 1024; i++) image.u64(image.refcountTable + i * 8, BigInt(block))
    },
  },
  {
    name: 'refcounts that are all the largest',
    seed: 'plain',
    change(image) {
      const block = image.offset(image.refcountTable)
      for (let i = 0; i < image.clusterSize / 8; i++) image.u64(block + i * 8, ALL_ONES)
    },
  },
  ...['l1', 'l2', 'refcountTable'].flatMap((table) =>
    ([0, 'l1', 'l2', 'refcountTable', 'block'] as const).map(
      (target): Case => ({
        name: `the first entry of ${table} is the offset of ${target === 0 ? 'the header' : target}`,
        seed: 'plain',
        change(image) {
          const offsets = {
            0: 0,
            l1: image.l1,
            l2: image.l2,
            refcountTable: image.refcountTable,
            block: image.offset(image.refcountTable),
          }
          image.u64(
            image[table as 'l1'],
            (COPIED * (table === 'refcountTable' ? 0n : 1n)) | BigInt(offsets[target]),
          )
        },
      }),
    ),
  ),
  {
    name: 'all tables at one offset',
    seed: 'plain',
    change(image) {
      image.u64(40, 0x10000n)
      image.u64(48, 0x10000n)
      image.u64(64, 0x10000n)
      image.u32(60, 3)
      image.u64(0x10000, COPIED | 0x10000n)
    },
  },
  {
    name: 'a compressed cluster that gives far more than a cluster',
    seed: 'large clusters',
    change: (image) => image.compressed(deflateRawSync(new Uint8Array(SCALE * 2 ** 26)).subarray(0, 2 ** 20)),
  },
  {
    name: 'a compressed cluster at the end of what a number holds',
    seed: 'plain',
    change: (image) => image.u64(image.l2, COMPRESSED | (2n ** 54n - 1n)),
  },
  {
    name: 'a zstd frame that would give a gibibyte, with the largest window',
    seed: 'zstd',
    change: (image) => image.compressed(zstdRuns(8192, 0xff)),
  },
  {
    name: 'zstd frames that give nothing',
    seed: 'zstd',
    change: (image) => image.compressed(zstdSkips(4096)),
  },
  {
    name: 'a zstd frame that declares 2^60 bytes',
    seed: 'zstd',
    change: (image) =>
      image.compressed(
        Uint8Array.from([0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0, 0, 0, 0, 0, 0, 0, 16, 1, 0, 0, 0, 0, 0]),
      ),
  },
  {
    name: 'a bitmap directory of the largest size in a hole',
    seed: 'plain',
    fileSize: 2 ** 50,
    change(image) {
      image.u64(88, 1n)
      image.put(112, new Uint8Array(64))
      image.u32(112, 0x2385_2875)
      image.u32(116, 24)
      image.u32(120, 65_535)
      image.u64(128, 1024n * 65_535n)
      image.u64(136, 2n ** 40n)
    },
  },
  {
    name: 'a few clusters in a file of 8 PiB',
    seed: 'small clusters',
    fileSize: Number.MAX_SAFE_INTEGER,
    change: () => undefined,
  },
  {
    name: 'header extensions that claim more than there is',
    seed: 'plain',
    change(image) {
      image.u32(112, 0x1234)
      image.u32(116, 0xffff_fff8)
    },
  },
]

/** The image of a case. */
export function imageOf({ name, fileSize = 0, change }: Case, bytes: Uint8Array): Hostile {
  const pen = new Pen(bytes)
  change(pen)
  return { bytes: pen.bytes, fileSize: Math.max(fileSize, pen.bytes.length), story: [name] }
}
