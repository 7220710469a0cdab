/** Reads guest data, and reports block status. */
import {
  BlockError,
  type BlockStatus,
  backingIsZero,
  inParts,
  isBlockError,
  joinedStatus,
  loadOnce,
  readBacking,
} from '@vmblock/block-core/driver'
import { loadDeflate } from '@vmblock/compression'
import { readData } from './data.ts'
import type { Image } from './image.ts'
import { isMissing, Kind, loadRun, peekRun, type Run } from './lookup.ts'

/** @throws BlockError EIO if the code cannot be loaded */
export const loadCodec = loadOnce('compressed clusters', loadDeflate)

/** Fills `into` from guest `offset`. */
export async function read(image: Image, offset: number, into: Uint8Array): Promise<void> {
  const first = await runAt(image, offset, into.length)
  // Most requests are one run.
  if (first.bytes === into.length) return readRun(image, first, offset, into)
  await inParts(into.length, async (done, parts) => {
    const run = done === 0 ? first : await runAt(image, offset + done, into.length - done)
    await parts.add(() => readRun(image, run, offset + done, into.subarray(done, done + run.bytes)))
    return run.bytes
  })
}

function runAt(image: Image, offset: number, bytes: number): Run | Promise<Run> {
  const found = peekRun(image, offset, bytes)
  return isMissing(found) || found.kind === Kind.invalid ? loadRun(image, offset, bytes) : found
}

async function readRun(image: Image, run: Run, offset: number, into: Uint8Array): Promise<void> {
  if (run.kind === Kind.unallocated) return readBacking(image.file, image.backing, offset, into)
  if (run.kind === Kind.data) return readData(image, run.hostOffset, offset, into)
  const cluster = await unpack(image, run)
  const within = offset % image.header.clusterSize
  into.set(cluster.subarray(within, within + into.length))
}

/** The cluster in compressed data. @throws BlockError EIO if it is none */
async function unpack(image: Image, { hostOffset, compressedBytes }: Run): Promise<Uint8Array> {
  const kept = image.unpacked
  if (kept?.offset === hostOffset) return kept.bytes
  const { file, header } = image
  const announced = file.debugEvent('read_compressed')
  if (announced) await announced
  const data = new Uint8Array(Math.max(0, Math.min(compressedBytes, file.size - hostOffset)))
  if (data.length > 0) await file.read(hostOffset, data)
  const codec = await loadCodec()
  const bytes = await codec.decompress(data, header.clusterSize).catch((cause: unknown) => {
    if (isBlockError(cause)) throw cause
    throw new BlockError('EIO', 'A compressed cluster cannot be decompressed', {
      node: image.nodeName,
      offset: hostOffset,
      cause,
    })
  })
  image.unpacked = { offset: hostOffset, bytes }
  return bytes
}

/** Whether a guest range is known to read as zeroes without reading its data. */
export async function readsAsZero(image: Image, offset: number, bytes: number): Promise<boolean> {
  for (let done = 0; done < bytes; ) {
    const run = await loadRun(image, offset + done, bytes - done)
    if (run.kind !== Kind.unallocated) return false
    if (!(await backingIsZero(image.backing, offset + done, run.bytes))) return false
    done += run.bytes
  }
  return true
}

/** The status of the longest run at guest `offset`, at most `bytes`. */
export const blockStatus = (image: Image, offset: number, bytes: number): Promise<BlockStatus> =>
  joinedStatus(bytes, async (done, left) => statusOf(image, await loadRun(image, offset + done, left)))

function statusOf(image: Image, { kind, bytes, hostOffset }: Run): BlockStatus {
  if (kind === Kind.unallocated) return { bytes, allocated: false, data: false, zero: !image.backing }
  const status = { bytes, allocated: true, data: true, zero: false }
  if (kind === Kind.compressed) return { ...status, compressed: true }
  return image.cipher ? status : { ...status, host: { child: image.file, offset: hostOffset } }
}
