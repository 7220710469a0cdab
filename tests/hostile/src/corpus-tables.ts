/** Tables that cost a check far more time or memory than they take in the file. */
import { type Case, COPIED, SCALE } from './corpus.ts'

const MIB = 2 ** 20

/** All cases. */
export const TABLES: readonly Case[] = [
  {
    name: 'an L1 table of which each entry is another L2 table of 2 MiB in a hole',
    seed: 'large clusters',
    fileSize: 2 ** 50,
    change(image) {
      const { end, clusterSize } = image
      const entries = SCALE * 2 ** 15
      image.u64(40, BigInt(end))
      image.u32(36, entries)
      for (let i = 0; i < entries; i++) image.u64(end + i * 8, COPIED | BigInt(2 ** 40 + i * clusterSize))
    },
  },
  {
    name: 'L2 tables of which each entry is far away from the one before',
    seed: 'large clusters',
    fileSize: 2 ** 51,
    change(image) {
      const { end, l1, clusterSize } = image
      for (let table = 0; table < 3; table++) {
        const at = end + table * clusterSize
        image.u64(l1 + table * 8, COPIED | BigInt(at))
        for (let i = 0; i < clusterSize / 8; i++)
          image.u64(at + i * 8, COPIED | BigInt((2 ** 19 + table * 2 ** 18 + i) * 32 * clusterSize))
      }
    },
  },
  {
    name: 'a great many bitmaps with the largest table, in a hole',
    seed: 'small clusters',
    fileSize: 2 ** 39,
    change(image) {
      const { end } = image
      const bitmaps = SCALE * 4096
      image.u64(88, 1n)
      image.put(112, new Uint8Array(64))
      image.u32(112, 0x2385_2875)
      image.u32(116, 24)
      image.u32(120, bitmaps)
      image.u64(128, BigInt(24 * bitmaps))
      image.u64(136, BigInt(end))
      for (let i = 0; i < bitmaps; i++) {
        image.u64(end + i * 24, 2n ** 38n)
        image.u32(end + i * 24 + 8, 2 ** 20)
        image.u32(end + i * 24 + 16, 0x010c_0000)
      }
    },
  },
  {
    name: 'a bitmap of which each entry leads to the same bits',
    seed: 'small clusters',
    fileSize: 2 ** 24,
    change(image) {
      const { end, clusterSize } = image
      image.u64(88, 1n)
      image.put(112, new Uint8Array(64))
      image.u32(112, 0x2385_2875)
      image.u32(116, 24)
      image.u32(120, 1)
      image.u64(128, 24n)
      image.u64(136, BigInt(end))
      const [table, bits] = [end + clusterSize, 2 ** 23]
      const entries = 2 ** 29 / clusterSize
      image.u64(end, BigInt(table))
      image.u32(end + 8, entries)
      image.u32(end + 16, 0x0109_0000)
      // As large as it takes to need all of them.
      image.u64(24, BigInt(2 ** 29 * 8 * 512))
      for (let i = 0; i < entries; i++) image.u64(table + i * 8, BigInt(bits))
      image.put(bits, new Uint8Array(clusterSize).fill(0x55))
    },
  },
  {
    name: 'a refcount table of which each entry is a block of 2 MiB in a hole',
    seed: 'large clusters',
    fileSize: 2 ** 50,
    change(image) {
      const { end, clusterSize, refcountTable } = image
      image.u64(end, BigInt(image.offset(refcountTable)))
      image.u64(48, BigInt(end))
      image.u32(56, 1)
      for (let i = 1; i < Math.min(SCALE * 2 ** 15, clusterSize / 8); i++)
        image.u64(end + i * 8, BigInt(2 ** 40 + i * clusterSize))
    },
  },
  {
    name: 'refcount blocks of 2 MiB that are all one, which is full',
    pass: 'read-write',
    seed: 'large clusters',
    fileSize: 2 ** 50,
    change(image) {
      const { end, clusterSize, refcountTable } = image
      const block = image.offset(refcountTable)
      image.put(block, new Uint8Array(clusterSize).fill(1))
      image.u64(48, BigInt(end))
      image.u32(56, 1)
      for (let i = 0; i < Math.min(SCALE * 2 ** 15, clusterSize / 8); i++)
        image.u64(end + i * 8, BigInt(block))
    },
  },
  {
    name: 'as many snapshots as there can be, with names as long',
    seed: 'plain',
    change(image) {
      const { end } = image
      const entries = SCALE * 8192
      image.u32(60, entries)
      image.u64(64, BigInt(end))
      const entry = new Uint8Array(1024).fill(0xe9, 40)
      new DataView(entry.buffer).setUint16(14, 1024 - 40)
      for (let i = 0; i < entries; i++) image.put(end + i * 1024, entry)
    },
  },
  {
    name: 'an L1 table of the largest size, each entry an L2 table beyond the file',
    pass: 'read-write',
    seed: 'plain',
    change(image) {
      const { end, l2, refcountTable } = image
      const entries = SCALE * 2 ** 19
      const block = image.offset(refcountTable)
      for (let cluster = 0; cluster < 1024; cluster++) image.u16(block + cluster * 2, 1)
      image.u64(40, BigInt(end))
      image.u32(36, entries)
      image.u64(end, COPIED | BigInt(l2))
      for (let i = 1; i < entries; i++) image.u64(end + i * 8, COPIED | BigInt(2 ** 50 + i * 65536))
    },
  },
  {
    name: 'QED: an L1 table of which each entry is another table of 16 MiB in a hole',
    seed: 'qed',
    fileSize: 2 ** 50,
    change(image) {
      image.le32(4, MIB)
      image.le32(8, 16)
      image.le64(40, BigInt(MIB))
      for (let i = 0; i < SCALE * 4096; i++) image.le64(MIB + i * 8, BigInt(2 ** 40 + i * 16 * MIB))
    },
  },
  {
    name: 'QED: tables of which each entry is far away from the one before',
    seed: 'qed',
    fileSize: 2 ** 50,
    change(image) {
      image.le32(4, 4096)
      image.le32(8, 16)
      image.le64(40, 65536n)
      for (let table = 0; table < 4; table++) {
        const at = 131_072 + table * 65536
        image.le64(65536 + table * 8, BigInt(at))
        for (let i = 0; i < 8192; i++) image.le64(at + i * 8, BigInt(2 ** 40 + (table * 8192 + i) * 2 ** 27))
      }
    },
  },
]
