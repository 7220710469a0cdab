/** Finds one snapshot in the table, and checks what its entry says. */
import { BlockError, SECTOR, type SnapshotChoice } from '@vmblock/block-core/driver'
import { encodeName } from '../format/encode-name.ts'
import { l1EntriesFor } from '../format/geometry.ts'
import { MAX_L1_BYTES, validateTable } from '../format/limits.ts'
import type { Snapshot } from '../format/snapshot-layout.ts'
import type { Image } from '../image/image.ts'
import { refusal } from './refusal.ts'
import { ID_BYTES, NAME_BYTES, walkSnapshots } from './snapshots.ts'

/** A snapshot, and its index in the table. */
export interface Chosen {
  readonly index: number
  readonly snapshot: Snapshot
}

const isCalled = (stored: Uint8Array, wanted: Uint8Array | undefined, most: number): boolean => {
  if (!wanted) return true
  const [a, b] = [stored.subarray(0, most), wanted.subarray(0, most)]
  return a.length === b.length && a.every((byte, i) => byte === b[i])
}

/** @throws BlockError ENOENT; as {@link walkSnapshots} */
export async function chooseSnapshot(image: Image, { id, name }: SnapshotChoice): Promise<Chosen> {
  const wantedId = id === undefined ? undefined : encodeName(id)
  const wantedName = name === undefined ? undefined : encodeName(name)
  let index = 0
  for await (const { snapshots } of walkSnapshots(image))
    for (const snapshot of snapshots) {
      if (isCalled(snapshot.id, wantedId, ID_BYTES) && isCalled(snapshot.name, wantedName, NAME_BYTES))
        return { index, snapshot }
      index++
    }
  throw refusal(image, 'ENOENT', "Can't find snapshot")
}

/** The disk that a snapshot holds. Sizes and offsets are bytes. */
export interface SnapshotDisk {
  readonly size: number
  readonly l1TableOffset: number
  /** Its L1 table, as on disk; it may be longer than the disk needs, and never is shorter. */
  readonly l1: Uint8Array
}

/**
 * Reads the L1 table of a snapshot.
 *
 * @throws BlockError EINVAL, EFBIG for an entry that is broken; the error of the file
 */
export async function loadSnapshotDisk(image: Image, snapshot: Snapshot): Promise<SnapshotDisk> {
  const { l1TableOffset, l1Size, diskSize = BigInt(image.size) } = snapshot
  // Above 2^53-1 it may be rounded here, and is refused.
  const offset = Number(l1TableOffset)
  validateTable(offset, l1Size, 8, MAX_L1_BYTES, image.geometry.clusterSize, 'Snapshot L1 table')
  if (diskSize % BigInt(SECTOR) !== 0n)
    throw refusal(image, 'EINVAL', 'The size of the snapshot is no multiple of 512')
  const needed = l1EntriesFor(image.geometry, Number(diskSize))
  if (diskSize > BigInt(Number.MAX_SAFE_INTEGER) || needed * 8 > MAX_L1_BYTES)
    throw new BlockError('EFBIG', 'The size of the snapshot is too big', { node: image.settings.nodeName })
  const l1 = new Uint8Array(Math.max(needed, l1Size) * 8)
  await image.file.read(offset, l1.subarray(0, l1Size * 8))
  return { size: Number(diskSize), l1TableOffset: offset, l1 }
}
