/**
 * What an open and sound disk does not need, in one part that is loaded when it is first asked for: making images, checking
 * and repairing them, telling and changing what the header says, and all that has to do with internal snapshots.
 */

export { checkImage } from '../check/check.ts'
export { tryAgain, writeAgain } from '../requests/try-again.ts'
export { listSnapshots, loadSnapshotPlaces } from '../snapshots/snapshots.ts'
export { readVmState, writeVmState } from '../snapshots/vm-state.ts'
export { amend, changeBackingFile } from './amend.ts'
export { checkCreation, createQcow2 } from './create.ts'
export { makeEmpty } from './empty.ts'
export { describedImage, requireDescribable } from './encrypted.ts'
export { info } from './info.ts'
export { prepareReopen } from './reopen.ts'
export { truncate } from './resize.ts'
export { isMostlyHoles } from './sparse.ts'
