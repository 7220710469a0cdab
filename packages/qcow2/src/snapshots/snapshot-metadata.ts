/** The metadata that snapshots keep in the file, for overlap checks: no write may hit it. */
import { BlockError, viewOf } from '@vmblock/block-core/driver'
import { hostOffsetOf } from '../format/l2-entry.ts'
import { Metadata } from '../format/metadata.ts'
import { type ClusterSet, clustersIn, type SnapshotMetadata } from '../image/cluster-set.ts'
import type { Image } from '../image/image.ts'
import { loadSnapshotRanges } from './snapshots.ts'

/** Bytes of L1 tables of snapshots that are kept in memory for `overlap-check.inactive-l2`. */
const MAX_INACTIVE_L1 = 32 * 2 ** 20

/**
 * Reads where the metadata of snapshots is. QEMU reads these tables again for every write; they change only
 * with the snapshots.
 *
 * @throws BlockError EFBIG if there is too much of it, or the error of the file
 */
export async function loadSnapshotMetadata(image: Image): Promise<SnapshotMetadata> {
  const ranges = await loadSnapshotRanges(image)
  const l2Clusters: ClusterSet[] = []
  if ((image.settings.overlapCheck & Metadata.inactiveL2) === 0) return { ...ranges, l2Clusters }
  const tables = new Map(ranges.l1Tables.map((table) => [`${table.offset} ${table.bytes}`, table]))
  let total = 0
  for (const { offset, bytes } of tables.values()) {
    total += bytes
    if (total > MAX_INACTIVE_L1)
      throw new BlockError('EFBIG', 'The snapshots have too many L1 tables for overlap-check.inactive-l2', {
        node: image.settings.nodeName,
      })
    const table = new Uint8Array(bytes)
    await image.file.read(offset, table)
    l2Clusters.push(clustersIn(viewOf(table), image.geometry.clusterSize, hostOffsetOf))
  }
  return { ...ranges, l2Clusters }
}
