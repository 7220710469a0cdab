/** What few requests need, loaded with the first of them. */
export { bitmapsOf, snapshotsOf } from '@vmblock/block-core'
export { walkExtents } from '../streams/extents.ts'
export { checkImage } from './check-image.ts'
export { commitImage } from './commit-image.ts'
export { compactImage } from './compact-image.ts'
export { describe } from './describe.ts'
export { rebaseImage } from './rebase-image.ts'
export { createSnapshot, listSnapshots } from './snapshots.ts'
