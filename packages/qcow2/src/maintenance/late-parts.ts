/**
 * The doors to parts that few images need: each is loaded by itself, with its first use. What is exported here for the
 * driver passes a call on to its part.
 */
import {
  type BitmapOps,
  type CompactReport,
  loadOnce,
  type PieceOptions,
  type RunAlone,
  type SnapshotOps,
} from '@vmblock/block-core/driver'
import { pieceControl } from '@vmblock/block-core/late'
import { loadBitmapCode } from '../bitmaps/load-bitmaps.ts'
import type { writeCompressed as WriteCompressed } from '../compression/write-compressed.ts'
import type { openEncryption as OpenEncryption } from '../encryption/encryption.ts'
import type { Image } from '../image/image.ts'

/** @throws BlockError EIO if the code cannot be loaded */
export const loadEncryption = loadOnce('encrypted images', () => import('../encryption/encryption.ts'))
/** @throws BlockError EIO if the code cannot be loaded */
export const loadCompact = loadOnce('compacting qcow2 images', () => import('../compact/compacting.ts'))
const loadCompressing = loadOnce('compressing clusters', () => import('../compression/compressing.ts'))
const loadSnapshots = loadOnce(
  'internal snapshots of qcow2 images',
  () => import('../snapshots/snapshot-ops.ts'),
)

/** See snapshots/snapshot-ops.ts. @throws BlockError EIO if the code cannot be loaded */
export const snapshots = async (image: Image): Promise<SnapshotOps> =>
  (await loadSnapshots()).snapshotOps(image)

/** See bitmaps/open-bitmaps.ts. @throws BlockError as there; EIO if the code cannot be loaded */
export const openBitmaps = async (image: Image): Promise<void> => (await loadBitmapCode()).openBitmaps(image)

/** See bitmaps/bitmap-ops.ts. @throws BlockError EIO if the code cannot be loaded */
export const bitmapOps = async (image: Image): Promise<BitmapOps> => (await loadBitmapCode()).bitmapOps(image)

/** See encryption/open-encryption.ts. @throws BlockError as there; EIO if the code cannot be loaded */
export const openEncryption: typeof OpenEncryption = async (...given) =>
  (await loadEncryption()).openEncryption(...given)

/** See compression/write-compressed.ts. @throws BlockError as there; EIO if the code cannot be loaded */
export const writeCompressed: typeof WriteCompressed = async (...given) =>
  (await loadCompressing()).writeCompressed(...given)

/** See compact/compact.ts. @throws BlockError as there; EIO if the code cannot be loaded */
export const compactImage = async (
  image: Image,
  options: PieceOptions,
  alone: RunAlone,
): Promise<CompactReport> => (await loadCompact()).compactImage(image, pieceControl(options, alone))
