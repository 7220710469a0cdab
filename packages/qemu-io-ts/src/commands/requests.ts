/** Functions shared by the commands that read and write. */
import { BlockError, type BlockNode } from '@vmblock/block-core'

/**
 * Refuses a request beyond the end of the disk. Formats do so themselves; a file or a null device as the top
 * node would grow, which QEMU does not let users of a device do.
 *
 * @throws BlockError EIO
 */
export function within(node: BlockNode, offset: number, bytes: number): void {
  if (offset > node.size || node.size - offset < bytes)
    throw new BlockError('EIO', `request [${offset}, +${bytes}) is outside the disk`, {
      node: node.name,
      offset,
    })
}

/** The node that has a machine-state area: filters and raw leave it to the node below. */
function vmStateNode(node: BlockNode): BlockNode {
  let owner = node
  while (!owner.can('readVmState') && owner.file) owner = owner.file.node
  return owner
}

/** Reads from the machine-state area. */
export const loadVmState = (node: BlockNode, offset: number, into: Uint8Array): Promise<void> =>
  vmStateNode(node).readVmState(offset, into)

/** Writes to the machine-state area; durably, if the write cache is off. */
export async function saveVmState(node: BlockNode, offset: number, from: Uint8Array): Promise<void> {
  await vmStateNode(node).writeVmState(offset, from)
  if (!node.config.writeCache) await node.flush()
}

/**
 * The index of the first byte in `[from, from + bytes)` other than `expected`; undefined if there is none.
 */
export function firstMismatch(
  data: Uint8Array,
  expected: number,
  from: number,
  bytes: number,
): number | undefined {
  for (let i = from; i < from + bytes; i++) if (data[i] !== expected) return i
  return undefined
}

/** Fills `into` with repetitions of `from`. */
export function repeatInto(into: Uint8Array, from: Uint8Array): void {
  for (let done = 0; done < into.length; done += from.length) {
    into.set(from.subarray(0, Math.min(from.length, into.length - done)), done)
  }
}
