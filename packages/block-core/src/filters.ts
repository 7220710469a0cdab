/**
 * Filters, and other drivers that stand on further nodes, which few graphs need: an application that wants one names it
 * in its registry, and loads no other. Names and options are QEMU's.
 * @module
 */
export { type Clock, systemClock } from './base/clock.ts'
export { blkverify, createBlkverify, type MismatchHost } from './drivers/blkverify.ts'
export { copyBeforeWrite, createCopyBeforeWrite } from './drivers/copy-before-write.ts'
export { preallocate } from './drivers/preallocate.ts'
export { createQuorum, type QuorumHost, type QuorumReport, quorum } from './drivers/quorum.ts'
export { snapshotAccess } from './drivers/snapshot-access.ts'
export { createThrottle, throttleGroupsOf } from './drivers/throttle.ts'
export { type ThrottleGroup, ThrottleGroups, type ThrottleMember } from './drivers/throttle-group.ts'
export { type Direction, LIMITS, type ThrottleLimits } from './drivers/throttle-limits.ts'
