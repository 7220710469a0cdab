/** What can be done with the bitmaps of an image: {@link BitmapOps}, with the rules and messages of QEMU 7.2. */
import { type BitmapOps, BlockError, DirtyBitmap, divUp } from '@vmblock/block-core/driver'
import { BitmapFlag } from '../format/bitmap-layout.ts'
import { encodeName } from '../format/encode-name.ts'
import { MAX_BACKING_NAME } from '../format/limits.ts'
import { MAX_BITMAP_BYTES, MAX_BITMAP_DIRECTORY_BYTES, MAX_BITMAPS } from '../format/rare-limits.ts'
import type { Image } from '../image/image.ts'
import { loadContent } from './content.ts'
import { readDirectory } from './directory.ts'
import { inconsistent, loadBitmaps, type OpenBitmap, type OpenBitmaps } from './open-bitmaps.ts'

/** The largest and smallest default of what one bit stands for, in bytes. */
const MAX_DEFAULT = 65536
const MIN_DEFAULT = 4096
/** The largest block that one bit may stand for. */
const MAX_GRANULARITY = 2 ** 31

const notFound = (name: string): BlockError => new BlockError('ENOENT', `Dirty bitmap '${name}' not found`)

/** The bitmaps of an image, however it is open. */
export function bitmapOps(image: Image): BitmapOps {
  /** For changes. In check mode they were not loaded. */
  const open = async (): Promise<OpenBitmaps> => {
    image.bitmaps ??= await loadBitmaps(image)
    return image.bitmaps as OpenBitmaps
  }
  const find = async (name: string): Promise<OpenBitmap> => {
    const found = (await open()).all.find((bitmap) => bitmap.name === name)
    if (!found) throw notFound(name)
    return found
  }
  /** Runs a change of a bitmap in memory, once that in the file is marked. */
  const change = async (
    name: string,
    run: (bitmap: OpenBitmap, content: DirtyBitmap) => void,
  ): Promise<void> => {
    const bitmaps = await open()
    const bitmap = await find(name)
    if (!bitmap.content) throw inconsistent(name)
    await bitmaps.mark([bitmap])
    run(bitmap, bitmap.content)
    bitmaps.watch()
  }
  return {
    isSupported: image.header.version >= 3,
    async list() {
      if (image.bitmaps)
        return (image.bitmaps as OpenBitmaps).all.map(
          ({ name, granularity, enabled, content, isMarked }) => ({
            name,
            granularity,
            enabled,
            inconsistent: content === undefined,
            inUse: isMarked,
          }),
        )
      return (await readDirectory(image)).map(({ name, granularityBits, flags }) => ({
        name,
        granularity: 2 ** granularityBits,
        enabled: (flags & BitmapFlag.auto) !== 0,
        inconsistent: (flags & BitmapFlag.inUse) !== 0,
        inUse: (flags & BitmapFlag.inUse) !== 0,
      }))
    },
    async add(name, { granularity = defaultGranularity(image), disabled = false }) {
      if (name === '') throw new BlockError('EINVAL', 'Bitmap name cannot be empty')
      if (granularity > MAX_GRANULARITY)
        throw new BlockError('EINVAL', 'Granularity must be power of 2 and at least 512')
      const content = new DirtyBitmap(image.size, granularity)
      const bitmaps = await open()
      if (bitmaps.all.some((bitmap) => bitmap.name === name))
        throw new BlockError('EINVAL', `Bitmap already exists: ${name}`)
      requireStorable(image, bitmaps, name, content)
      bitmaps.all.push({ name, granularity, enabled: !disabled, content, isStored: false, isMarked: false })
      bitmaps.watch()
    },
    async remove(name) {
      await (await open()).remove(await find(name))
    },
    clear: (name) => change(name, (_, content) => content.clearAll()),
    setEnabled: (name, enabled) =>
      change(name, (bitmap) => {
        bitmap.enabled = enabled
      }),
    merge: (name, source) =>
      change(name, (_, content) => {
        if (content.size !== source.size)
          throw new BlockError(
            'EINVAL',
            `Bitmaps are of different sizes (destination size is ${content.size}, source size is ${source.size}) and can't be merged`,
          )
        content.merge(source)
      }),
    async read(name) {
      if (image.bitmaps) {
        const { content } = await find(name)
        if (!content) throw inconsistent(name)
        return content.copy()
      }
      const entry = (await readDirectory(image)).find((other) => other.name === name)
      if (!entry) throw notFound(name)
      if ((entry.flags & BitmapFlag.inUse) !== 0) throw inconsistent(name)
      return loadContent(image, entry)
    },
  }
}

const defaultGranularity = ({ geometry }: Image): number =>
  Math.min(Math.max(geometry.clusterSize, MIN_DEFAULT), MAX_DEFAULT)

/** Bytes of an entry in the directory. */
const entryBytes = (nameBytes: number): number => divUp(24 + nameBytes, 8) * 8

/** @throws BlockError if the bitmap could not be saved when the image is closed */
function requireStorable(image: Image, { all }: OpenBitmaps, name: string, content: DirtyBitmap): void {
  const { nodeName } = image.settings
  const refuse = (why: string): never => {
    throw new BlockError('EINVAL', `Can't make bitmap '${name}' persistent in '${nodeName}': ${why}`, {
      node: nodeName,
    })
  }
  if (image.header.version < 3) refuse('Cannot store dirty bitmaps in qcow2 v2 files')
  const nameBytes = encodeName(name).length
  if (nameBytes > MAX_BACKING_NAME) refuse(`Name length exceeds maximum (${MAX_BACKING_NAME} characters)`)
  if (content.packedBytes > MAX_BITMAP_BYTES)
    refuse('Too much space will be occupied by the bitmap. Use larger granularity')
  if (all.length >= MAX_BITMAPS) refuse('Maximum number of persistent bitmaps is already reached')
  const used = all.reduce((sum, other) => sum + entryBytes(encodeName(other.name).length), 0)
  if (used + entryBytes(nameBytes) > MAX_BITMAP_DIRECTORY_BYTES)
    refuse('Not enough space in the bitmap directory')
}
