/** The internal snapshots of an image that is open, as programs need them. */
import { type BlockNode, isBlockError, messageOf, type SnapshotInfo } from '@vmblock/block-core'
import { Failure } from '@vmblock/cli'

/** Lists the snapshots. QEMU reads them when it opens an image, and fails to open it if it cannot. @throws Failure */
export async function listSnapshots(node: BlockNode): Promise<readonly SnapshotInfo[]> {
  try {
    return await node.listSnapshots()
  } catch (error) {
    const hint = isBlockError(error) ? error.hint : undefined
    throw new Failure(
      `Could not open '${node.filename}': ${messageOf(error)}`,
      hint === undefined ? {} : { hint },
    )
  }
}
