/** Reading guest data. */
import { BlockError, inParts, readBacking } from '@vmblock/block-core'
import { SubclusterKind } from './format/subclusters.ts'
import type { Image } from './image.ts'
import { loadRun, peekRun, type Run } from './lookup.ts'

/** Fills `into` from guest `offset`. */
export async function read(image: Image, offset: number, into: Uint8Array): Promise<void> {
  const epoch = image.requests.enter()
  try {
    const first = peekValid(image, offset, into.length) ?? (await loadRun(image, offset, into.length))
    // Most requests are one run.
    if (first.bytes === into.length) await readRun(image, first, offset, into)
    else await readRuns(image, first, offset, into)
  } finally {
    image.requests.leave(epoch)
  }
}

function peekValid(image: Image, offset: number, bytes: number): Run | undefined {
  const run = peekRun(image, offset, bytes)
  return run && run.kind !== SubclusterKind.invalid ? run : undefined
}

async function readRuns(image: Image, first: Run, offset: number, into: Uint8Array): Promise<void> {
  await inParts(into.length, async (done, parts) => {
    const left = into.length - done
    const run =
      done === 0
        ? first
        : (peekValid(image, offset + done, left) ?? (await loadRun(image, offset + done, left)))
    await parts.add(() => readRun(image, run, offset + done, into.subarray(done, done + run.bytes)))
    return run.bytes
  })
}

const DONE = Promise.resolve()

/** Not an async function, since every layer of those costs a cached read as much as looking it up. */
function readRun(image: Image, run: Run, offset: number, into: Uint8Array): Promise<void> {
  switch (run.kind) {
    case SubclusterKind.normal: {
      const announced = image.file.debugEvent('read_aio')
      if (announced) return announced.then(() => image.data.read(run.hostOffset, into))
      return image.data.read(run.hostOffset, into)
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
  const { clusterSize } = image.geometry
  const data = new Uint8Array(run.compressedBytes)
  const announced = image.file.debugEvent('read_compressed')
  if (announced) await announced
  await image.file.read(run.hostOffset, data)
  const cluster = await image.codec.decompress(data, clusterSize)
  const inCluster = offset % clusterSize
  into.set(cluster.subarray(inCluster, inCluster + into.length))
}
