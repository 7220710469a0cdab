/**
 * The requests of images with blocks. Offsets and lengths are guest bytes, in whole sectors: that is what bitmaps know.
 */
import {
  type BlockStatus,
  backingIsZero,
  inParts,
  joinedStatus,
  readBacking,
  SECTOR,
  type WriteFlags,
} from '@vmblock/block-core/driver'
import { runIn } from './bitmaps.ts'
import type { BlockImage, Place } from './block-image.ts'
import { NO_SECTOR } from './format/dynamic-header.ts'

/** The part of a request that is in one block. */
interface Part {
  readonly index: number
  /** Bytes from the start of the block's data. */
  readonly within: number
  readonly bytes: number
}

function partAt({ blockSize }: BlockImage, offset: number, bytes: number): Part {
  const index = Math.floor(offset / blockSize)
  const within = offset - index * blockSize
  return { index, within, bytes: Math.min(blockSize - within, bytes) }
}

/** Calls `act` with the parts of a request, several at a time. */
async function eachPart(
  image: BlockImage,
  offset: number,
  bytes: number,
  act: (part: Part, done: number) => Promise<void>,
): Promise<void> {
  const first = partAt(image, offset, bytes)
  if (first.bytes === bytes) return act(first, 0)
  await inParts(bytes, async (done, parts) => {
    const part = done === 0 ? first : partAt(image, offset + done, bytes - done)
    await parts.add(() => act(part, done))
    return part.bytes
  })
}

/** Consecutive bytes of a block that are in the same state. */
interface Run {
  /** Host offset of the data; undefined: the parent shows through, or zeroes. */
  readonly host: number | undefined
  readonly bytes: number
}

/** The run at the start of a part. Loads the bitmap of its block. */
async function runAt(image: BlockImage, { index, within, bytes }: Part): Promise<Run> {
  const place = image.placeOf(index)
  if (place === undefined) return { host: undefined, bytes }
  const host = place + image.bitmapBytes + within
  if (image.bitmaps.isFull(index)) return { host, bytes }
  if (!image.bitmaps.peek(index)) await image.bitmaps.load(index, place)
  const bits = image.bitmaps.peek(index)
  if (!bits) return { host, bytes }
  const first = within / SECTOR
  const { hasData, count } = runIn(bits, first, first + bytes / SECTOR)
  return { host: hasData ? host : undefined, bytes: count * SECTOR }
}

/** Fills `into`. */
export const read = (image: BlockImage, offset: number, into: Uint8Array): Promise<void> =>
  eachPart(image, offset, into.length, async (part, done) => {
    for (let at = 0; at < part.bytes; ) {
      const rest = { ...part, within: part.within + at, bytes: part.bytes - at }
      const { host, bytes } = await runAt(image, rest)
      const piece = into.subarray(done + at, done + at + bytes)
      if (host === undefined) await readBacking(image.file, image.backing, offset + done + at, piece)
      else {
        const announced = image.file.debugEvent('read_aio')
        if (announced) await announced
        await image.file.read(host, piece)
      }
      at += bytes
    }
  })

/** Writes to blocks in place, and to new ones. */
export async function write(image: BlockImage, offset: number, from: Uint8Array): Promise<void> {
  const preparing = image.prepare()
  if (preparing) await preparing
  await eachPart(image, offset, from.length, (part, done) =>
    writePart(image, part, from.subarray(done, done + part.bytes)),
  )
}

/** Writes to one block: zeroes if there is no data. */
async function writePart(
  image: BlockImage,
  part: Part,
  data: Uint8Array | undefined,
  flags: WriteFlags = {},
): Promise<void> {
  for (;;) {
    const place = image.placeOf(part.index)
    if (place !== undefined) return writeInPlace(image, part, place, data, flags)
    const other = image.filling.get(part.index)
    if (!other) break
    await other
  }
  const filled = fill(image, part, data)
  const ended = filled.then(
    () => {},
    () => {},
  )
  image.filling.set(part.index, ended)
  try {
    await filled
  } finally {
    image.filling.delete(part.index)
  }
}

async function writeInPlace(
  image: BlockImage,
  { index, within, bytes }: Part,
  place: number,
  data: Uint8Array | undefined,
  flags: WriteFlags,
): Promise<void> {
  const host = place + image.bitmapBytes + within
  if (data) {
    const announced = image.file.debugEvent('write_aio')
    if (announced) await announced
    await image.file.write(host, data)
  } else await image.file.writeZeroes(host, bytes, flags)
  if (!image.bitmaps.isFull(index))
    await image.bitmaps.mark(index, within / SECTOR, (within + bytes) / SECTOR, place)
}

/** Allocates a block, and writes to it. Without a parent, all of it holds data then, as in QEMU. */
async function fill(
  image: BlockImage,
  { index, within, bytes }: Part,
  data: Uint8Array | undefined,
): Promise<void> {
  const { file, bitmaps, isDifferencing } = image
  const announced = file.debugEvent('cluster_alloc')
  if (announced) await announced
  const place = await image.takePlace()
  try {
    await fillPlace(image, place, within, data)
  } catch (error) {
    image.givePlace(place)
    throw error
  }
  bitmaps.add(index, !isDifferencing)
  image.link(index, place)
  if (isDifferencing) await bitmaps.mark(index, within / SECTOR, (within + bytes) / SECTOR, place.offset)
}

async function fillPlace(
  { file, bitmapBytes, blockSize, isDifferencing }: BlockImage,
  { offset, isFresh }: Place,
  within: number,
  data: Uint8Array | undefined,
): Promise<void> {
  // An empty bitmap has to be durable before the entry: bits of something else would hide the parent.
  await file.write(offset, new Uint8Array(bitmapBytes).fill(isDifferencing ? 0 : 0xff))
  if (!isFresh) await file.writeZeroes(offset + bitmapBytes, blockSize)
  if (!data) return
  const announced = file.debugEvent('write_aio')
  if (announced) await announced
  await file.write(offset + bitmapBytes + within, data)
}

/** What holds no data and shows zeroes stays; data is zeroed in place, so that a host with holes gets the space back. */
export async function writeZeroes(
  image: BlockImage,
  offset: number,
  bytes: number,
  flags: WriteFlags,
): Promise<void> {
  const preparing = image.prepare()
  if (preparing) await preparing
  await eachPart(image, offset, bytes, async (part, done) => {
    // A request that is filling the block with other data overlaps with this one, or leaves these bytes as they are.
    for (let other = image.filling.get(part.index); other; other = image.filling.get(part.index)) await other
    const isMissing = image.placeOf(part.index) === undefined
    if (isMissing && (await backingIsZero(image.backing, offset + done, part.bytes))) return
    await writePart(image, part, undefined, flags)
  })
}

/** Advice to the file, where there is data. */
export const discard = (image: BlockImage, offset: number, bytes: number): Promise<void> =>
  eachPart(image, offset, bytes, async (part) => {
    const place = image.placeOf(part.index)
    if (place !== undefined) await image.file.discard(place + image.bitmapBytes + part.within, part.bytes)
  })

/** The status of the run at `offset`. */
export const blockStatus = (image: BlockImage, offset: number, bytes: number): Promise<BlockStatus> =>
  joinedStatus(bytes, async (done, left) => {
    const missing = missingAt(image, offset + done, left)
    const run =
      missing > 0
        ? { host: undefined, bytes: missing }
        : await runAt(image, partAt(image, offset + done, left))
    if (run.host === undefined)
      return { bytes: run.bytes, allocated: false, data: false, zero: !image.backing }
    const host = { child: image.file, offset: run.host }
    return { bytes: run.bytes, allocated: true, data: true, zero: false, host }
  })

/** How many bytes are in blocks that have no place. */
function missingAt({ table, blockSize }: BlockImage, offset: number, bytes: number): number {
  const first = Math.floor(offset / blockSize)
  let index = first
  const end = Math.ceil((offset + bytes) / blockSize)
  while (index < end && table[index] === NO_SECTOR) index++
  return index === first ? 0 : Math.min(index * blockSize - offset, bytes)
}
