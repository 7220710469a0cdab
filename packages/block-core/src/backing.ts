/** What shows through where a copy-on-write image holds nothing: its backing file, and zeroes past its end. */
import { chainStatus } from './block-status.ts'
import type { BlockChild } from './child.ts'

const DONE = Promise.resolve()

/** Reads what shows through at guest `offset`. `file` hears of it (`read_backing_aio`). */
export function readBacking(
  file: BlockChild,
  backing: BlockChild | undefined,
  offset: number,
  into: Uint8Array,
): Promise<void> {
  const available = backing ? Math.max(0, Math.min(into.length, backing.size - offset)) : 0
  into.fill(0, available)
  if (!backing || available === 0) return DONE
  const part = available === into.length ? into : into.subarray(0, available)
  const announced = file.debugEvent('read_backing_aio')
  return announced ? announced.then(() => backing.read(offset, part)) : backing.read(offset, part)
}

/** Whether what shows through in a guest range is known to be all zeroes, without reading it. */
export async function backingIsZero(
  backing: BlockChild | undefined,
  offset: number,
  bytes: number,
): Promise<boolean> {
  if (!backing) return true
  const end = Math.min(offset + bytes, backing.size)
  for (let at = offset; at < end; ) {
    const status = await chainStatus(backing.node, at, end - at)
    if (!status.zero || status.bytes === 0) return status.bytes === 0
    at += status.bytes
  }
  return true
}
