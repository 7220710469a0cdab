/**
 * Code that an open and sound disk does not need, in one part that is loaded on first use: creating, checking
 * and repairing images, reporting and changing the header, listing snapshots. It holds the doors to the parts that fewer
 * images need (late-parts.ts).
 */

export { checkImage } from '../check/check.ts'
export { repairDirty } from '../check/repair-dirty.ts'
export { describeUnknown } from '../format/feature-names.ts'
export { parseRareExtension } from '../format/rare-extensions.ts'
export { serializeHeader } from '../format/serialize-header.ts'
export { openImage as start } from '../open/start.ts'
export { chosenCaches, chosenOverlapCheck } from '../options/chosen-settings.ts'
export { keepOptions } from '../options/keep-options.ts'
export { cutEnd } from '../refcounts/trim-file.ts'
export { tryAgain, writeAgain } from '../requests/try-again.ts'
export { loadSnapshotMetadata } from '../snapshots/snapshot-metadata.ts'
export { listSnapshots } from '../snapshots/snapshots.ts'
export { readVmState, writeVmState } from '../snapshots/vm-state.ts'
export { amend, changeBackingFile } from './amend.ts'
export { amendOptions } from './amend-options.ts'
export { creation } from './create.ts'
export { makeEmpty } from './empty.ts'
export { flushCacheByCache } from './flush-cache-by-cache.ts'
export { info } from './info.ts'
export {
  bitmapOps,
  compactImage,
  openBitmaps,
  openEncryption,
  snapshots,
  writeCompressed,
} from './late-parts.ts'
export { prepareReopen } from './reopen.ts'
export { truncate } from './resize.ts'
export { isMostlyHoles } from './sparse.ts'
