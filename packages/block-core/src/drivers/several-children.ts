/** What drivers with several children have in common: limits for all of them, their space, and comparing what they hold. */
import type { BlockChild, BlockNode } from '../contract/node.ts'
import type { BlockLimits } from '../contract/requests.ts'

/**
 * The limits of a node that hands each request to all its children. The children align requests themselves, as QEMU's do:
 * so a request is compared, and reported, as it was made.
 */
export const limitsOfAll = (children: readonly BlockChild[]): Partial<BlockLimits> => ({
  maxTransfer: Math.min(...children.map(({ limits }) => limits.maxTransfer)),
})

/** Bytes that a node takes on its host, as far as the nodes below say; undefined if none does. */
export async function spaceOf(node: BlockNode): Promise<number | undefined> {
  const { actualSize } = await node.info()
  return actualSize ?? (node.file && spaceOf(node.file.node))
}

/** The index of the first byte that differs in two arrays of one length; -1 if none does. */
export function firstDifference(one: Uint8Array, other: Uint8Array): number {
  for (let at = 0; at < one.length; at++) if (one[at] !== other[at]) return at
  return -1
}
