/** Snapshots in the form of this package: plain data, times in seconds. */
import { type BlockNode, snapshotsOf } from '@vmblock/block-core'
import { expects, requireCount, requireOptions } from '@vmblock/block-core/driver'
import { type DiskSnapshot, snapshotOf } from './describe.ts'

/** What is stored with a new snapshot. */
export interface SnapshotCreation {
  /** Default: now. */
  readonly created?: Date | undefined
  /** Seconds that a virtual machine had run. Default: 0. */
  readonly vmClock?: number | undefined
  /** Bytes of machine state, which `disk.node.writeVmState` has written before. Default: 0. */
  readonly vmStateSize?: number | undefined
}

/** About 292 years: a 64-bit number of nanoseconds. */
const MAX_SECONDS = 2 ** 63 / 1e9

const OPTIONS = {
  created: expects('a Date', (value) => value instanceof Date && value.getTime() >= 0),
  vmClock: expects('seconds', (value) => typeof value === 'number' && value >= 0 && value < MAX_SECONDS),
  vmStateSize: requireCount,
}

/** See `DiskSnapshots`. */
export const listSnapshots = async (node: BlockNode): Promise<DiskSnapshot[]> =>
  (await snapshotsOf(node).list()).map(snapshotOf)

/** See `DiskSnapshots`. */
export async function createSnapshot(
  node: BlockNode,
  name: string,
  options: SnapshotCreation = {},
): Promise<DiskSnapshot> {
  requireOptions(options, 'options', OPTIONS)
  const { created: date, vmClock = 0, vmStateSize } = options
  const vmClockNsec = BigInt(Math.floor(vmClock * 1e9))
  return snapshotOf(await snapshotsOf(node).create(name, { date, vmClockNsec, vmStateSize }))
}
