/** Zero clusters in snapshots, which version 2 does not know. */
import { viewOf } from '@vmblock/block-core/driver'
import { ClusterKind } from '../format/l2-entry.ts'
import type { Image } from '../image/image.ts'
import { clusterKindOf } from '../mapping/entries.ts'
import { loadSnapshotDisk } from './choose.ts'
import { l2TablesOf } from './l2-tables.ts'
import { walkSnapshots } from './snapshots.ts'

/** Whether an entry of a snapshot's tables says that a cluster is zero. The caches must be written back. */
export async function haveZeroClusters(image: Image): Promise<boolean> {
  const { l2Entries, l2EntrySize } = image.geometry
  for await (const { snapshots } of walkSnapshots(image))
    for (const snapshot of snapshots) {
      const { l1 } = await loadSnapshotDisk(image, snapshot)
      for await (const { view } of l2TablesOf(image, viewOf(l1)))
        for (let at = 0; at < l2Entries * l2EntrySize; at += l2EntrySize) {
          const kind = clusterKindOf(image, view.getUint32(at), view.getUint32(at + 4))
          if (kind === ClusterKind.zeroPlain || kind === ClusterKind.zeroAlloc) return true
        }
    }
  return false
}
