/** The content of a copy-on-write image where it holds no data: its backing file, and zeroes past its end. */

import type { BlockChild } from '../contract/node.ts'
import { chainStatus } from '../graph/block-status.ts'

const DONE = Promise.resolve()

/** Reads from the backing file at guest `offset`, in bytes. Announces the step `read_backing_aio` to `file`. */
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

/** Whether the backing file is known, without reading it, to show only zeroes in a range of guest bytes. */
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
