/** Reads guest data, and reports block status. */
import {
  type BlockStatus,
  backingIsZero,
  inParts,
  joinedStatus,
  readBacking,
} from '@vmblock/block-core/driver'
import type { Image } from './image.ts'
import { isMissing, Kind, loadRun, peekRun, type Run } from './lookup.ts'

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
  if (run.kind === Kind.zero) {
    into.fill(0)
    return
  }
  const announced = image.file.debugEvent('read_aio')
  if (announced) await announced
  await image.file.read(run.hostOffset, into)
}

/** Whether a guest range is known to read as zeroes without reading its data. */
export async function readsAsZero(image: Image, offset: number, bytes: number): Promise<boolean> {
  for (let done = 0; done < bytes; ) {
    const run = await loadRun(image, offset + done, bytes - done)
    if (run.kind === Kind.data) return false
    if (run.kind === Kind.unallocated && !(await backingIsZero(image.backing, offset + done, run.bytes)))
      return false
    done += run.bytes
  }
  return true
}

/** The status of the longest run at guest `offset`, at most `bytes`. */
export const blockStatus = (image: Image, offset: number, bytes: number): Promise<BlockStatus> =>
  joinedStatus(bytes, async (done, left) => statusOf(image, await loadRun(image, offset + done, left)))

function statusOf(image: Image, { kind, bytes, hostOffset }: Run): BlockStatus {
  if (kind === Kind.data) {
    const host = { child: image.file, offset: hostOffset }
    return { bytes, allocated: true, data: true, zero: false, host }
  }
  const isZero = kind === Kind.zero
  return { bytes, allocated: isZero, data: false, zero: isZero || !image.backing }
}
