/**
 * Writes guest data: in place if there is a cluster, else append - write - link. The link comes last, so a crash before it leaks
 * clusters and loses nothing.
 */
import {
  alignDown,
  alignUp,
  BlockError,
  inParts,
  type NewClusters,
  SECTOR,
  writeWithCopies,
} from '@vmblock/block-core/driver'
import { writeData } from './data.ts'
import { type Entry, l1EntryAt, l2EntryAt, maxCompressedOffset, setEntry } from './format/entries.ts'
import { ENTRY } from './format/header.ts'
import type { Image } from './image.ts'
import {
  type EntryPosition,
  invalidEntry,
  isMissing,
  Kind,
  kindOf,
  l1Position,
  l2Position,
  loadRun,
  peekRun,
  type Run,
  sliceAt,
  sliceCoverage,
} from './lookup.ts'
import { loadCodec, read, readsAsZero } from './read.ts'

/** Writes `from` at guest `offset`. */
export async function write(image: Image, offset: number, from: Uint8Array): Promise<void> {
  const first = peekRun(image, offset, from.length)
  if (!isMissing(first) && first.kind === Kind.data && first.bytes === from.length)
    return writeInPlace(image, first, offset, from)
  await inParts(from.length, async (done, parts) => {
    const run = await loadRun(image, offset + done, from.length - done)
    if (run.kind !== Kind.data) return writeNew(image, offset + done, from.subarray(done))
    await parts.add(() => writeInPlace(image, run, offset + done, from.subarray(done, done + run.bytes)))
    return run.bytes
  })
}

async function writeInPlace(image: Image, run: Run, offset: number, from: Uint8Array): Promise<void> {
  const announced = image.file.debugEvent('write_aio')
  if (announced) await announced
  await writeData(image, run.hostOffset, offset, from)
}

/**
 * Writes the first part of `from`, for which clusters have to be allocated.
 *
 * @returns how many bytes were written: up to the first cluster that can be written in place
 */
function writeNew(image: Image, offset: number, from: Uint8Array): Promise<number> {
  const { clusterSize } = image.header
  const coverage = sliceCoverage(image)
  const bytes = Math.min(from.length, coverage - (offset % coverage))
  const start = alignDown(offset, clusterSize)
  const length = alignUp(offset + bytes, clusterSize) - start
  // Other requests that allocate in these clusters wait, and then look again.
  return image.allocating.run(start, length, true, async () => {
    await makeRoom(image)
    const reserved = await image.lock.run(() => reserve(image, start, length / clusterSize))
    if (!reserved) return 0 // another request allocated it meanwhile: it can be written in place now
    const { hostOffset, clusters } = reserved
    const size = clusters * clusterSize
    const part = from.subarray(0, Math.min(bytes, start + size - offset))
    try {
      await writeWithCopies(newClusters(image, start, size, hostOffset), offset, part)
      await image.lock.run(() =>
        link(image, start, clusters, (index) => ({
          offset: hostOffset + index * clusterSize,
          compressedBytes: 0,
        })),
      )
    } catch (error) {
      await image.lock.run(async () => image.release(hostOffset, size))
      throw error
    }
    await relieve(image)
    return part.length
  })
}

/** Describes clusters that are written whole. The last one may reach behind the end of the disk, where nothing is read. */
const newClusters = (image: Image, start: number, bytes: number, hostOffset: number): NewClusters => ({
  data: { write: (host, from) => writeData(image, host, start + host - hostOffset, from) },
  announceTo: image.file,
  start,
  end: start + bytes,
  hostOffset,
  zeroed: false,
  readsAsZero: (at, length) => readsAsZero(image, at, length),
  readOld: (at, into) => readOld(image, at, into),
})

async function readOld(image: Image, at: number, into: Uint8Array): Promise<void> {
  const there = Math.min(into.length, Math.max(alignUp(image.header.size, image.header.clusterSize) - at, 0))
  await read(image, at, into.subarray(0, there))
}

/** Places for clusters. */
interface Reserved {
  readonly clusters: number
  readonly hostOffset: number
}

/**
 * Takes places for the first clusters from guest `start` on that have no place of their own: those that are unallocated or
 * compressed. Runs under the lock.
 *
 * @returns undefined if the first one has
 */
async function reserve(image: Image, start: number, count: number): Promise<Reserved | undefined> {
  const { clusterSize, clusterBits } = image.header
  const { slice, index } = await writablePosition(image, start)
  const table = await sliceAt(image.l2Tables, slice)
  let clusters = 0
  for (; clusters < count; clusters++) {
    const kind = kindOf(image, l2EntryAt(table.view, index + clusters, clusterBits))
    if (kind === Kind.invalid) throw invalidEntry(image, start + clusters * clusterSize)
    if (kind === Kind.data) break
  }
  if (clusters === 0) return undefined
  const announced = image.file.debugEvent('cluster_alloc')
  if (announced) await announced
  return { clusters, hostOffset: await image.append(clusters * clusterSize, clusterSize) }
}

/** Points L2 entries at places whose data was written. `entryOf` counts from 0. Runs under the lock. */
async function link(
  image: Image,
  start: number,
  count: number,
  entryOf: (index: number) => Entry,
): Promise<void> {
  const { slice, index } = await writablePosition(image, start)
  const table = await sliceAt(image.l2Tables, slice)
  image.l2Tables.followData()
  for (let i = 0; i < count; i++) setEntry(table.view, index + i, entryOf(i), image.header.clusterBits)
  image.l2Tables.changed(table, index * ENTRY, (index + count) * ENTRY)
  image.isUnsure = true
}

/** The position of the L2 entry for a guest offset, in a table that is created if there is none. Runs under the lock. */
async function writablePosition(image: Image, offset: number): Promise<EntryPosition> {
  const { slice, index } = l1Position(image, offset)
  const l1 = await sliceAt(image.l1Table, slice)
  const tableOffset = l1EntryAt(l1.view, index)
  if (tableOffset === 0) return l2Position(image, await newTable(image, { slice, index }), offset)
  if (!image.isPlace(tableOffset)) throw invalidEntry(image, offset)
  const position = l2Position(image, tableOffset, offset)
  // What a crash of QEMU cut off is empty.
  if (position.slice >= image.file.size && !image.l2Tables.peek(position.slice)) {
    await image.append(0, SECTOR) // places behind the end are measured, and this is one of them
    emptySlice(image, position.slice)
  }
  return position
}

function emptySlice(image: Image, slice: number): void {
  const table = image.l2Tables.createZeroed(slice)
  image.l2Tables.changed(table, 0, image.l2Tables.sliceSize)
}

/** Appends an empty L2 table, which reaches the disk before the L1 entry that points at it. @returns its host offset */
async function newTable(image: Image, { slice, index }: EntryPosition): Promise<number> {
  const { tableBytes, clusterSize } = image.header
  const offset = await image.append(tableBytes, clusterSize)
  const l1 = await sliceAt(image.l1Table, slice)
  for (let at = 0; at < tableBytes; at += image.l2Tables.sliceSize) emptySlice(image, offset + at)
  const older = image.l1Table.follow(image.l2Tables)
  if (older) await older
  setEntry(l1.view, index, { offset, compressedBytes: 0 }, image.header.clusterBits)
  image.l1Table.changed(l1, index * ENTRY, (index + 1) * ENTRY)
  image.isUnsure = true
  return offset
}

/** Writes tables back when half of a cache is dirty, so that memory stays bounded. Takes the image's lock. */
async function relieve(image: Image): Promise<void> {
  if (image.l2Tables.isCrowded) await image.lock.run(() => image.l2Tables.writeBack())
}

/** If a cache is full of changes, writes them first. Takes the image's lock. @throws the error of writing them */
async function makeRoom(image: Image): Promise<void> {
  if (image.l2Tables.isFull || image.l1Table.isFull) await image.lock.run(() => image.writeTables())
}

/** Zeroes a guest range: where nothing but zeroes shows, nothing is written. */
export async function writeZeroes(image: Image, offset: number, bytes: number): Promise<void> {
  for (let done = 0; done < bytes; ) {
    const run = await loadRun(image, offset + done, Math.min(bytes - done, 2 ** 20))
    const isZero = run.kind === Kind.unallocated && (await backingIsZeroAt(image, offset + done, run.bytes))
    if (!isZero) await write(image, offset + done, new Uint8Array(run.bytes))
    done += run.bytes
  }
}

const backingIsZeroAt = (image: Image, offset: number, bytes: number): Promise<boolean> =>
  readsAsZero(image, offset, bytes)

/**
 * Writes whole clusters compressed; the last may end with the disk. One that does not become smaller is written as it is. What a
 * cluster held before stays where it is, as in QEMU, and nothing refers to it.
 *
 * @throws BlockError ENOTSUP for encrypted images; EFBIG if the file is too long for such an entry; the error of the file
 */
export async function writeCompressed(image: Image, offset: number, from: Uint8Array): Promise<void> {
  const { clusterSize } = image.header
  if (image.cipher)
    throw new BlockError('ENOTSUP', 'Compression and encryption not supported at the same time', {
      node: image.nodeName,
    })
  const codec = await loadCodec()
  await inParts(from.length, async (done, parts) => {
    const piece = from.subarray(done, done + clusterSize)
    const cluster = new Uint8Array(clusterSize)
    cluster.set(piece)
    const data = await codec.compress(cluster)
    if (data && data.length < clusterSize) await parts.add(() => storeCompressed(image, offset + done, data))
    else await parts.add(() => write(image, offset + done, piece))
    return piece.length
  })
}

function storeCompressed(image: Image, offset: number, data: Uint8Array): Promise<void> {
  const { clusterSize, clusterBits } = image.header
  return image.allocating.run(offset, clusterSize, true, async () => {
    await makeRoom(image)
    const hostOffset = await image.lock.run(() => image.append(data.length, SECTOR))
    try {
      if (hostOffset + data.length > maxCompressedOffset(clusterBits))
        throw new BlockError('EFBIG', 'the image file is too long for compressed clusters', {
          node: image.nodeName,
        })
      const announced = image.file.debugEvent('write_compressed')
      if (announced) await announced
      image.isUnsure = true
      await image.file.write(hostOffset, data)
      const entry = { offset: hostOffset, compressedBytes: data.length }
      await image.lock.run(() => link(image, offset, 1, () => entry))
    } catch (error) {
      await image.lock.run(async () => image.release(hostOffset, data.length))
      throw error
    }
    await relieve(image)
  })
}
