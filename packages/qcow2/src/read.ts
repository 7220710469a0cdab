/** Reading guest data. */
import { BlockError, SubRequests } from '@vmblock/block-core'
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
  const requests = new SubRequests()
  await requests.run(async () => {
    let run = first
    for (let done = 0; ; ) {
      const at = done
      const part = run
      await requests.add(() => readRun(image, part, offset + at, into.subarray(at, at + part.bytes)))
      done += part.bytes
      if (done === into.length || requests.failed) return
      const left = into.length - done
      run = peekValid(image, offset + done, left) ?? (await loadRun(image, offset + done, left))
    }
  })
}

async function readRun(image: Image, run: Run, offset: number, into: Uint8Array): Promise<void> {
  switch (run.kind) {
    case SubclusterKind.normal: {
      const announced = image.data.debugEvent('read_aio')
      if (announced) await announced
      return image.data.read(run.hostOffset, into)
    }
    case SubclusterKind.zeroPlain:
    case SubclusterKind.zeroAlloc:
      into.fill(0)
      return
    case SubclusterKind.unallocatedPlain:
    case SubclusterKind.unallocatedAlloc:
      return readBacking(image, offset, into)
    case SubclusterKind.compressed:
      return readCompressed(image, run, offset, into)
    default:
      throw new BlockError('EIO', 'Invalid cluster entry found', { node: image.settings.nodeName, offset })
  }
}

/** What shows through where the image holds nothing: the backing file, and zeroes past its end. */
export async function readBacking(image: Image, offset: number, into: Uint8Array): Promise<void> {
  const { backing } = image
  const available = backing ? Math.max(0, Math.min(into.length, backing.size - offset)) : 0
  if (backing && available > 0) {
    const announced = image.file.debugEvent('read_backing_aio')
    if (announced) await announced
    await backing.read(offset, into.subarray(0, available))
  }
  into.fill(0, available)
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
