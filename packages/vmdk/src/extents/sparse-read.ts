/** Reads sparse extents, and reports their block status. */
import { type BlockStatus, inParts } from '@vmblock/block-core/driver'
import { readCompressed } from './compressed-read.ts'
import { Kind, type Run, runAt } from './lookup.ts'
import type { SparseExtent } from './sparse.ts'

/** Fills `into` from an offset of the extent. */
export async function readSparse(extent: SparseExtent, offset: number, into: Uint8Array): Promise<void> {
  const first = await runAt(extent, offset, into.length)
  // Most requests are one run.
  if (first.bytes === into.length) return readRun(extent, first, offset, into)
  await inParts(into.length, async (done, parts) => {
    const run = done === 0 ? first : await runAt(extent, offset + done, into.length - done)
    await parts.add(() => readRun(extent, run, offset + done, into.subarray(done, done + run.bytes)))
    return run.bytes
  })
}

async function readRun(extent: SparseExtent, run: Run, offset: number, into: Uint8Array): Promise<void> {
  const { file, parent, start } = extent
  if (run.kind === Kind.unallocated) return parent.read(start + offset, into)
  if (run.kind === Kind.zero) {
    into.fill(0)
    return
  }
  if (run.kind === Kind.compressed) return readCompressed(extent, run.packed!, offset, into)
  const announced = file.debugEvent('read_aio')
  if (announced) await announced
  await file.read(run.hostOffset, into)
}

/** Whether a range of the extent is known to read as zeroes without reading its data. */
export async function readsAsZero(extent: SparseExtent, offset: number, bytes: number): Promise<boolean> {
  for (let done = 0; done < bytes; ) {
    const run = await runAt(extent, offset + done, bytes - done)
    if (run.kind === Kind.data || run.kind === Kind.compressed) return false
    const at = extent.start + offset + done
    if (run.kind === Kind.unallocated && !(await extent.parent.isZero(at, run.bytes))) return false
    done += run.bytes
  }
  return true
}

/** The status of one run. */
export async function statusOfSparse(
  extent: SparseExtent,
  offset: number,
  bytes: number,
): Promise<BlockStatus> {
  const run = await runAt(extent, offset, bytes)
  switch (run.kind) {
    case Kind.data: {
      const host = { child: extent.file, offset: run.hostOffset }
      return { bytes: run.bytes, allocated: true, data: true, zero: false, host }
    }
    case Kind.compressed:
      return { bytes: run.bytes, allocated: true, data: true, zero: false, compressed: true }
    case Kind.zero:
      return { bytes: run.bytes, allocated: true, data: false, zero: true }
    default:
      return { bytes: run.bytes, allocated: false, data: false, zero: !extent.parent.backing }
  }
}
