/**
 * The late part that makes, applies, deletes and opens internal snapshots. It names the part for maintenance, too, without
 * need: all that the start shares with the one it then shares with the other, and bundlers put that into one file, not two.
 */
export * from './maintenance/maintenance.ts'
export { snapshotOps } from './snapshots/operations.ts'
