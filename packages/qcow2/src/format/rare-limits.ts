/** Bounds for snapshots and bitmaps, which few images have: QEMU's figures (block/qcow2.h, block/qcow2-bitmap.c). */
import { MAX_SNAPSHOTS } from './limits.ts'

/** Bytes of the snapshot table. */
export const MAX_SNAPSHOT_TABLE_BYTES = 1024 * MAX_SNAPSHOTS
/** Bytes of extra data in one entry of the snapshot table. */
export const MAX_SNAPSHOT_EXTRA_DATA = 1024
/** Bitmaps in an image. */
export const MAX_BITMAPS = 65_535
/** Bytes of the bitmap directory. */
export const MAX_BITMAP_DIRECTORY_BYTES = 1024 * MAX_BITMAPS
/** Entries of one bitmap table. */
export const MAX_BITMAP_TABLE_ENTRIES = 0x800_0000
/** Bytes of one bitmap in memory. */
export const MAX_BITMAP_BYTES = 0x2000_0000
