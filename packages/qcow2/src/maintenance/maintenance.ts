/**
 * Code that an open and sound disk does not need, in one part that is loaded on first use: creating, checking
 * and repairing images, reporting and changing the header, and everything about internal snapshots.
 */

import { type BitmapOps, loadOnce } from '@vmblock/block-core/driver'
import { loadBitmapCode } from '../bitmaps/load-bitmaps.ts'
import type { writeCompressed as WriteCompressed } from '../compression/write-compressed.ts'
import type { Image } from '../image/image.ts'

export { checkImage } from '../check/check.ts'
export { repairDirty } from '../check/repair-dirty.ts'
export { describeUnknown } from '../format/feature-names.ts'
export { parseRareExtension } from '../format/rare-extensions.ts'
export { serializeHeader } from '../format/serialize-header.ts'
export { chosenCaches, chosenOverlapCheck } from '../options/chosen-settings.ts'
export { keepOptions } from '../options/keep-options.ts'
export { tryAgain, writeAgain } from '../requests/try-again.ts'
export { loadSnapshotMetadata } from '../snapshots/snapshot-metadata.ts'
export { listSnapshots } from '../snapshots/snapshots.ts'
export { readVmState, writeVmState } from '../snapshots/vm-state.ts'
export { amend, changeBackingFile } from './amend.ts'
export { amendOptions } from './amend-options.ts'
export { creation } from './create.ts'
export { makeEmpty } from './empty.ts'
export { describedImage, requireDescribable } from './encrypted.ts'
export { info } from './info.ts'
export { snapshots } from './late-parts.ts'
export { prepareReopen } from './reopen.ts'
export { truncate } from './resize.ts'
export { isMostlyHoles } from './sparse.ts'

const loadCompression = loadOnce('compressing clusters', () => import('../compression/write-compressed.ts'))

/** Writes clusters compressed. The code is a part of its own. @throws BlockError EIO if it cannot be loaded */
export const writeCompressed: typeof WriteCompressed = async (...given) =>
  (await loadCompression()).writeCompressed(...given)
/** See bitmaps/bitmaps.ts. */
export const openBitmaps = async (image: Image): Promise<void> => (await loadBitmapCode()).openBitmaps(image)
/** See bitmaps/bitmap-ops.ts. */
export const bitmapOps = async (image: Image): Promise<BitmapOps> => (await loadBitmapCode()).bitmapOps(image)
