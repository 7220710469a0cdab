/** Reads guest data. */

import { BlockError, inParts, readBacking } from '@vmblock/block-core/driver'
import type { ReadData } from '@vmblock/compression'
import { SubclusterKind } from '../format/subclusters.ts'
import type { Image } from '../image/image.ts'
import { isStillThere, loadRun, peekRun, type Run } from '../mapping/lookup.ts'

/** Fills `into` from guest `offset`. */
export async function read(image: Image, offset: number, into: Uint8Array): Promise<void> {
  const epoch = image.requests.enter()
  try {
    const remaps = image.remaps.count
    const first = peekValid(image, offset, into.length) ?? (await loadRun(image, offset, into.length))
    // Most requests are one run.
    if (first.bytes === into.length) {
      await readRun(image, first, offset, into)
      if (image.remaps.since(remaps)) await readMoved(image, first, offset, into)
    } else await readRuns(image, first, remaps, offset, into)
  } finally {
    image.requests.leave(epoch)
  }
}

function peekValid(image: Image, offset: number, bytes: number): Run | undefined {
  const run = peekRun(image, offset, bytes)
  return run && run.kind !== SubclusterKind.invalid ? run : undefined
}

/** @param remapsThen the count (remaps.ts) before the first run was looked up */
async function readRuns(
  image: Image,
  first: Run,
  remapsThen: number,
  offset: number,
  into: Uint8Array,
): Promise<void> {
  await inParts(into.length, async (done, parts) => {
    const left = into.length - done
    const remaps = done === 0 ? remapsThen : image.remaps.count
    const run =
      done === 0
        ? first
        : (peekValid(image, offset + done, left) ?? (await loadRun(image, offset + done, left)))
    const packed = packedFrom(image, run, offset + done, left)
    if (packed.length > 1) {
      const bytes = packed.length * image.geometry.clusterSize
      await parts.add(() =>
        image.codec.readPacked!(packed, dataReader(image), into.subarray(done, done + bytes)),
      )
      return bytes
    }
    await parts.add(async () => {
      const part = into.subarray(done, done + run.bytes)
      await readRun(image, run, offset + done, part)
      if (image.remaps.since(remaps)) await readMoved(image, run, offset + done, part)
    })
    return run.bytes
  })
}

/**
 * Reads again if the entry no longer shows this cluster: a write that is not linked yet may be filling it.
 */
async function readMoved(image: Image, run: Run, offset: number, into: Uint8Array): Promise<void> {
  if (run.kind === SubclusterKind.normal && !(await isStillThere(image, run, offset)))
    await read(image, offset, into)
}

const DONE = Promise.resolve()

/** Not an async function: each layer of these costs a cached read as much as the lookup. */
function readRun(image: Image, run: Run, offset: number, into: Uint8Array): Promise<void> {
  switch (run.kind) {
    case SubclusterKind.normal: {
      const announced = image.file.debugEvent('read_aio')
      if (announced) return announced.then(() => image.store.read(run.hostOffset, into, offset))
      return image.store.read(run.hostOffset, into, offset)
    }
    case SubclusterKind.zeroPlain:
    case SubclusterKind.zeroAlloc:
      into.fill(0)
      return DONE
    case SubclusterKind.unallocatedPlain:
    case SubclusterKind.unallocatedAlloc:
      return readBacking(image.file, image.backing, offset, into)
    case SubclusterKind.compressed:
      return readCompressed(image, run, offset, into)
    default:
      return Promise.reject(
        new BlockError('EIO', 'Invalid cluster entry found', { node: image.settings.nodeName, offset }),
      )
  }
}

async function readCompressed(image: Image, run: Run, offset: number, into: Uint8Array): Promise<void> {
  const { hostOffset, compressedBytes } = run
  const cluster = await image.decompressed.get(hostOffset, compressedBytes, () =>
    decompress(image, hostOffset, compressedBytes),
  )
  const inCluster = offset % image.geometry.clusterSize
  into.set(cluster.subarray(inCluster, inCluster + into.length))
}

async function decompress(image: Image, hostOffset: number, bytes: number): Promise<Uint8Array> {
  const data = new Uint8Array(bytes)
  await dataReader(image)(hostOffset, data)
  return image.codec.decompress(data, image.geometry.clusterSize)
}

/** Reads compressed data of clusters. */
const dataReader =
  ({ file }: Image): ReadData =>
  async (hostOffset, into) => {
    const announced = file.debugEvent('read_compressed')
    if (announced) await announced
    await file.read(hostOffset, into)
  }

/** The most bytes of compressed data that are read at once. */
const PACKED_BYTES = 2 ** 18

/** End of a run's compressed data in the file, in bytes. */
const endOf = ({ hostOffset, compressedBytes }: Run): number => hostOffset + compressedBytes

/** The whole compressed clusters from guest `offset`, within `bytes`, whose data lies together in the file; none or one: nothing is gained. */
function packedFrom(image: Image, first: Run, offset: number, bytes: number): Run[] {
  const { clusterSize } = image.geometry
  const runs: Run[] = []
  if (!image.codec.readPacked) return runs
  let run: Run | undefined = first
  for (let left = bytes; run?.bytes === clusterSize && run.kind === SubclusterKind.compressed; ) {
    const last = runs.at(-1) ?? run
    if (run.hostOffset < last.hostOffset || run.hostOffset > endOf(last) + clusterSize) break
    if (endOf(run) - first.hostOffset > PACKED_BYTES) break
    runs.push(run)
    left -= clusterSize
    run = left > 0 ? peekRun(image, offset + bytes - left, left) : undefined
  }
  return runs
}
