/**
 * A snapshot read without being applied: an image of its own on the same file, with the L1 table of the snapshot. What it
 * reads stays in its place, since the snapshot counts a reference to it, and cannot be deleted meanwhile.
 */
import type { BlockChild, NodeOps, SnapshotChoice } from '@vmblock/block-core/driver'
import type { Snapshot } from '../format/snapshot-layout.ts'
import { Image } from '../image/image.ts'
import { read } from '../requests/read.ts'
import { blockStatus } from '../requests/status.ts'
import { chooseSnapshot, loadSnapshotDisk } from './choose.ts'
import { countView } from './open-views.ts'
import { refusal } from './refusal.ts'
import { readVmState, vmStateOffset } from './vm-state.ts'

/** Bytes of tables that a view keeps in memory at most. */
const CACHE = 2 ** 20

/**
 * Opens a snapshot for reading.
 *
 * @throws BlockError as `SnapshotOps.open`
 */
export async function openSnapshot(
  image: Image,
  choice: SnapshotChoice,
  backing: BlockChild | undefined,
): Promise<NodeOps> {
  if (image.hasDataFile)
    throw refusal(image, 'ENOTSUP', 'An image with a data file cannot have internal snapshots')
  const { snapshot } = await chooseSnapshot(image, choice)
  const view = await viewOn(image, snapshot)
  view.backing = backing
  countView(image, snapshot, 1)
  let isCounted = true
  const end = (): void => {
    if (isCounted) countView(image, snapshot, -1)
    isCounted = false
    view.dropCaches()
  }
  const ops: NodeOps = {
    size: () => view.size,
    read: (offset, into) => read(view, offset, into),
    blockStatus: (offset, bytes) => blockStatus(view, offset, bytes),
    readVmState: (offset, into) => readVmState(view, offset, into),
    info: async () => ({
      clusterSize: view.geometry.clusterSize,
      vmStateOffset: vmStateOffset(view),
      // The bitmaps of the image are those of the disk.
      formatSpecific: { type: 'qcow2', data: { compat: view.header.version < 3 ? '0.10' : '1.1' } },
    }),
    close: async () => end(),
    crash: end,
  }
  return image.encryption?.viewOperations(ops) ?? ops
}

async function viewOn(image: Image, snapshot: Snapshot): Promise<Image> {
  const { size, l1, l1TableOffset } = await loadSnapshotDisk(image, snapshot)
  const { settings, header } = image
  const { caches } = settings
  return new Image({
    settings: {
      ...settings,
      readOnly: true,
      caches: { ...caches, l2CacheSize: Math.min(caches.l2CacheSize, CACHE) },
    },
    header: { ...header, size, l1TableOffset, l1Size: l1.length / 8 },
    geometry: image.geometry,
    file: image.file,
    hasDataFile: false,
    encryption: image.encryption,
    storeOf: () => image.store,
    codec: image.codec,
    events: image.events,
    // Nothing changes through the view.
    observe: () => () => {},
    l1,
    refcountTable: new Uint8Array(0),
    loadMaintenance: image.loadMaintenance,
  })
}
