/**
 * What an open and sound disk never needs, in one part that is loaded when it is first asked for: making images,
 * checking and repairing them, changing what the header says, and looking at internal snapshots.
 */
export { amend, changeBackingFile } from './amend.ts'
export { checkImage } from './check/check.ts'
export { createQcow2 } from './create.ts'
export { makeEmpty } from './empty.ts'
export { prepareReopen } from './reopen.ts'
export { truncate } from './resize.ts'
export { loadSnapshotPlaces } from './snapshots.ts'
export { readVmState, writeVmState } from './vm-state.ts'
