/** Requests that do not fit a driver's alignment: read around them, or read, change and write back. */
import { alignDown } from '../base/bits.ts'
import type { DebugEvent } from '../contract/debug-events.ts'

/** Reads the aligned range [start, start + length) and copies the requested part into `into`. */
export async function readPadded(
  read: (offset: number, into: Uint8Array) => Promise<void>,
  start: number,
  length: number,
  offset: number,
  into: Uint8Array,
): Promise<void> {
  const buffer = new Uint8Array(length)
  await read(start, buffer)
  into.set(buffer.subarray(offset - start, offset - start + into.length))
}

/** A write up to this many bytes is copied whole; of a longer one only the two ends are. */
const COPY_LIMIT = 256 * 1024

interface PaddedWrite {
  readonly alignment: number
  read(offset: number, into: Uint8Array): Promise<void>
  write(offset: number, data: Uint8Array): Promise<void>
  debugEvent(event: DebugEvent): void | Promise<void>
}

/** Writes `from` at `offset` by rewriting the aligned range [start, start + length) around it. */
export async function writePadded(
  { alignment, read, write, debugEvent }: PaddedWrite,
  start: number,
  length: number,
  offset: number,
  from: Uint8Array,
): Promise<void> {
  const end = start + length
  const dataEnd = offset + from.length
  const hasHead = offset > start
  const hasTail = dataEnd < end
  const announce = async (step: 'head' | 'tail'): Promise<void> => debugEvent(`pwritev_rmw_${step}`)
  const announceAfter = async (step: 'head' | 'tail'): Promise<void> =>
    debugEvent(`pwritev_rmw_after_${step}`)
  // As in QEMU: if the two end blocks make up the whole range, one read fetches it.
  if (length <= alignment || (hasHead && hasTail && length <= 2 * alignment)) {
    const whole = new Uint8Array(length)
    if (hasHead) await announce('head')
    if (hasTail) await announce('tail')
    await read(start, whole)
    if (hasHead) await announceAfter('head')
    if (hasTail) await announceAfter('tail')
    whole.set(from, offset - start)
    await write(start, whole)
    return
  }
  const tailStart = alignDown(dataEnd, alignment)
  const head = new Uint8Array(hasHead ? alignment : 0)
  const tail = new Uint8Array(hasTail ? end - tailStart : 0)
  if (hasHead) {
    await announce('head')
    await read(start, head)
    await announceAfter('head')
  }
  if (hasTail) {
    await announce('tail')
    await read(tailStart, tail)
    await announceAfter('tail')
  }
  if (length <= COPY_LIMIT) {
    const whole = new Uint8Array(length)
    whole.set(head)
    whole.set(tail, length - tail.length)
    whole.set(from, offset - start)
    await write(start, whole)
    return
  }
  const middleStart = start + head.length
  const middleEnd = end - tail.length
  if (hasHead) {
    head.set(from.subarray(0, middleStart - offset), offset - start)
    await write(start, head)
  }
  await write(middleStart, from.subarray(middleStart - offset, middleEnd - offset))
  if (hasTail) {
    tail.set(from.subarray(middleEnd - offset))
    await write(middleEnd, tail)
  }
}
