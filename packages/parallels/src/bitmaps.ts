/** The dirty bitmaps of a format extension, for readers. */
import {
  type BitmapInfo,
  type BitmapOps,
  BlockError,
  type DirtyRange,
  pause,
  type RecordedChanges,
} from '@vmblock/block-core/driver'
import type { StoredBitmap } from './format/extension.ts'
import type { Image } from './image.ts'

/** Most ranges that are told of a bitmap: each takes memory. */
const MAX_RANGES = 2 ** 22

/** The bitmaps that an image has while nothing was written to it. They cannot be changed. */
export function bitmapsOf(image: Image): BitmapOps {
  const stored = (): readonly StoredBitmap[] => image.extension?.bitmaps ?? []
  const refuse = async (): Promise<never> => {
    throw new BlockError('ENOTSUP', 'The dirty bitmaps of Parallels images can only be read')
  }
  return {
    isSupported: false,
    list: async () => stored().map(infoOf),
    async read(name) {
      const bitmap = stored().find((each) => each.name === name)
      if (!bitmap) throw new BlockError('ENOENT', `Dirty bitmap '${name}' not found`)
      return readBits(image, bitmap)
    },
    add: refuse,
    remove: refuse,
    clear: refuse,
    setEnabled: refuse,
    merge: refuse,
  }
}

const infoOf = ({ name, granularity }: StoredBitmap): BitmapInfo => ({
  name,
  granularity,
  enabled: false,
  inconsistent: false,
  inUse: false,
})

async function readBits(image: Image, { table, granularity }: StoredBitmap): Promise<RecordedChanges> {
  const { clusterSize, diskSize } = image.header
  const coverage = clusterSize * 8 * granularity
  const ranges: { offset: number; bytes: number }[] = []
  const add = (offset: number, bytes: number): void => {
    const last = ranges.at(-1)
    const length = Math.min(bytes, diskSize - offset)
    if (length <= 0) return
    if (last && last.offset + last.bytes === offset) last.bytes += length
    else if (ranges.length < MAX_RANGES) ranges.push({ offset, bytes: length })
    else throw new BlockError('EFBIG', `the bitmap has more than ${MAX_RANGES} ranges`)
  }
  const bits = new Uint8Array(clusterSize)
  for (const [index, entry] of table.entries()) {
    const start = index * coverage
    if (entry === 0) continue
    if (entry === 1) {
      add(start, coverage)
      continue
    }
    await image.file.read(entry, bits)
    const turning = pause()
    if (turning) await turning
    bits.forEach((byte, at) => {
      for (let bit = 0; byte >> bit > 0; bit++)
        if ((byte >> bit) & 1) add(start + (at * 8 + bit) * granularity, granularity)
    })
  }
  return { size: diskSize, ranges: (): Iterable<DirtyRange> => ranges }
}
