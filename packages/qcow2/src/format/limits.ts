/**
 * Bounds that keep a hostile image from costing memory or time: QEMU's figures (block/qcow2.h), and the one check
 * that every table named by a header field has to pass.
 */
import { BlockError } from '@vmblock/block-core/driver'

/** Bytes of the active L1 table, of a snapshot's, or of one that grows. */
export const MAX_L1_BYTES = 32 * 2 ** 20
/** Bytes of the refcount table. */
export const MAX_REFCOUNT_TABLE_BYTES = 8 * 2 ** 20
/** Snapshots in an image. */
export const MAX_SNAPSHOTS = 65_536
/** Bytes of the shortest entry of the snapshot table: its fixed part. */
export const SNAPSHOT_ENTRY_BYTES = 40
/** Bytes of a backing file's name. */
export const MAX_BACKING_NAME = 1023
/** L1 entries, bounded by a C `int`. */
export const MAX_L1_INDEX = 2 ** 31 - 1
/** First host offset that a 56-bit field cannot hold. */
export const MAX_HOST_OFFSET = 2 ** 56

/**
 * Checks a table that a header field points at: its size, its alignment, and that it ends below 2^63.
 *
 * @param offset bytes, from a 64-bit field; above 2^53-1 it may be rounded, which changes no answer here
 * @param entries of `entryBytes` bytes each
 * @param what begins the message, in QEMU's words ("Active L1 table")
 * @throws BlockError EFBIG if too large, or beyond 2^53-1; EINVAL if misplaced
 */
export function validateTable(
  offset: number,
  entries: number,
  entryBytes: number,
  maxBytes: number,
  clusterSize: number,
  what: string,
): void {
  if (entries > Math.floor(maxBytes / entryBytes)) throw new BlockError('EFBIG', `${what} too large`)
  if (offset + entries * entryBytes >= 2 ** 63 || offset % clusterSize !== 0)
    throw new BlockError('EINVAL', `${what} offset invalid`, { offset })
  if (offset > Number.MAX_SAFE_INTEGER)
    throw new BlockError('EFBIG', `${what} offset exceeds 2^53-1`, { offset })
}
