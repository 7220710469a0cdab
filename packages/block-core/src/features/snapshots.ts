/**
 * Internal snapshots of a disk: save points inside the image. A guest may be running: its requests wait while one is made,
 * applied or deleted, and go on afterwards. Filters above the image are looked through.
 */
import { expects, isCount, requireCount, requireOptions, requireText, wrongValue } from '../base/arguments.ts'
import { cow } from '../contract/child-kinds.ts'
import { defineDriver } from '../contract/driver.ts'
import type { BlockNode } from '../contract/node.ts'
import type { NodeOps, SnapshotOps } from '../contract/node-ops.ts'
import { ALL_PERMISSIONS, PERMISSION } from '../contract/permissions.ts'
import type { SnapshotInfo } from '../contract/reports.ts'
import type { SnapshotChoice } from '../contract/snapshots.ts'
import type { Disk } from '../disk/disk.ts'
import { skipFilters } from '../graph/block-status.ts'
import { linkedNode } from '../graph/known-nodes.ts'
import type { LinkedNode } from '../graph/links.ts'
import { requireNode } from '../graph/node-arguments.ts'
import { unsupportedError } from '../graph/node-errors.ts'
import { openNode } from '../open/open.ts'

/** What is stored with a snapshot. */
export interface SnapshotOptions {
  /** Time of creation. Default: now. */
  readonly date?: Date | undefined
  /** How long the machine had run, in nanoseconds. Default: 0. */
  readonly vmClockNsec?: bigint | undefined
  /** Bytes of machine state, which `writeVmState` has written before. Default: 0, and what was written is dropped. */
  readonly vmStateSize?: number | undefined
  /** How many instructions the machine had executed, if it counts them. */
  readonly icount?: bigint | undefined
}

/** The internal snapshots of one disk. Names are those of the first snapshot that has it; `{ id }` names one by its id. */
export interface Snapshots {
  /** The snapshots, in order; none if the format has no snapshots. @throws BlockError of reading them; ENOMEDIUM */
  list(): Promise<readonly SnapshotInfo[]>
  /**
   * Keeps what the disk holds. There may be several snapshots of one name, of which at most 255 bytes are kept.
   *
   * @throws BlockError EINVAL for wrong arguments, and if the image's refcounts are too narrow; ENOTSUP if the format, or
   *   this image, has no snapshots; EPERM if it is read-only; EFBIG, ENOSPC; EIO, also if the code cannot be loaded
   */
  create(name: string, options?: SnapshotOptions): Promise<SnapshotInfo>
  /**
   * Gives the disk the content and the size that it had; what it holds now is lost.
   *
   * @throws BlockError as {@link create}; ENOENT; EBUSY while the image has dirty bitmaps: then the disk is as before
   */
  apply(snapshot: string | SnapshotChoice): Promise<void>
  /** Forgets a snapshot, and frees what only it needed. @throws BlockError as {@link create}; ENOENT; EBUSY while it is open */
  delete(snapshot: string | SnapshotChoice): Promise<void>
  /**
   * Opens a snapshot for reading, with the size that the disk had. The disk may be used meanwhile; it cannot be closed before
   * the snapshot is.
   *
   * @throws BlockError as {@link create}; ENOENT
   */
  open(snapshot: string | SnapshotChoice): Promise<Disk>
}

const CHOICE = { id: requireText, name: requireText }
const requireDate = expects('a Date', (value) => value instanceof Date && isCount(value.getTime()))
const requireU64 = expects(
  'a bigint from 0, below 2^64',
  (value) => typeof value === 'bigint' && BigInt.asUintN(64, value) === value,
)
const OPTIONS = { date: requireDate, vmClockNsec: requireU64, vmStateSize: requireCount, icount: requireU64 }

/** @throws BlockError EINVAL */
function choiceOf(snapshot: unknown): SnapshotChoice {
  if (typeof snapshot === 'string') return { name: snapshot }
  requireOptions(snapshot, 'snapshot', CHOICE)
  const { id, name } = snapshot as SnapshotChoice
  if (id === undefined && name === undefined)
    throw wrongValue('snapshot', "a snapshot's name, or { id }", snapshot)
  return { id, name }
}

/**
 * The internal snapshots of a disk.
 *
 * @throws BlockError EINVAL if `node` is no node
 */
export function snapshotsOf(node: BlockNode): Snapshots {
  requireNode(node, 'node')
  /** Changes the snapshots with no request in flight. */
  const change = async <T>(
    kind: 'applySnapshot' | undefined,
    run: (ops: SnapshotOps) => Promise<T>,
  ): Promise<T> => {
    const image = imageOf(node)
    const before = image.size
    try {
      return await image.exclusive('snapshots', kind, async (ops) => run(await ops.snapshots!()))
    } finally {
      if (image.size !== before) for (const each of path(node)) each.emit('resize', each.size)
    }
  }
  return {
    list: async () => imageOf(node).listSnapshots(),
    async create(name, options = {}) {
      requireText(name, 'name')
      if (name.includes('\0')) throw wrongValue('name', 'a string without NUL', name)
      requireOptions(options, 'options', OPTIONS)
      const { date = new Date(), vmClockNsec = 0n, vmStateSize = 0, icount } = options
      const time = date.getTime()
      const settings = {
        name,
        dateSec: Math.floor(time / 1000) % 2 ** 32,
        dateNsec: (time % 1000) * 1_000_000,
        vmClockNsec,
        vmStateSize,
        icount,
      }
      return change(undefined, (ops) => ops.create(settings))
    },
    async apply(snapshot) {
      const choice = choiceOf(snapshot)
      await change('applySnapshot', (ops) => ops.apply(choice))
    },
    async delete(snapshot) {
      const choice = choiceOf(snapshot)
      await change(undefined, (ops) => ops.delete(choice))
    },
    open: async (snapshot) => openView(imageOf(node), choiceOf(snapshot)),
  }
}

/** The node that has the structure of the image. */
const imageOf = (node: BlockNode): LinkedNode => linkedNode(skipFilters(linkedNode(node)))

/** The node, and the filters between it and its image, and that. */
function* path(node: BlockNode): Generator<LinkedNode> {
  const image = imageOf(node)
  let at = linkedNode(node)
  for (; at !== image && at.file; at = at.file.node) yield at
  yield at
}

/** The image whose snapshot is shown: it is read, and may be written by others. */
const shownImage = {
  permissions: () => ({ taken: PERMISSION.consistentRead, shared: ALL_PERMISSIONS }),
  isPrimary: true,
  opens: 'as-parent',
} as const

/** A node over the image, which shows one snapshot. It ends with the image. */
function openView(image: LinkedNode, choice: SnapshotChoice): Promise<Disk> {
  const { origin } = image
  if (!origin || !image.ops.snapshots) throw unsupportedError(image, 'snapshots')
  const driver = defineDriver({
    name: 'snapshot',
    kind: 'format',
    children: { file: shownImage, backing: cow },
    async open(context) {
      const { node } = await context.requireChild('file')
      const backing = await context.child('backing')
      const below = linkedNode(node)
      const ops = await below.counted(0, 0, async () => (await below.ops.snapshots!()).open(choice, backing))
      return guarded(ops, below)
    },
  })
  return openNode(origin.environment, {
    driver,
    file: image,
    backing: image.backing?.node ?? null,
    'read-only': true,
  } as never)
}

/** Requests of a view count as requests of the image: whatever changes it as a whole waits for them, and they for it. */
function guarded(ops: NodeOps, image: LinkedNode): NodeOps {
  const { read, blockStatus, readVmState, info } = ops
  const counted = <T>(body: () => Promise<T>): Promise<T> => image.counted(0, 0, body)
  return {
    ...ops,
    read: (offset, into) => counted(() => read(offset, into)),
    ...(blockStatus && { blockStatus: (offset, bytes) => counted(() => blockStatus(offset, bytes)) }),
    ...(readVmState && { readVmState: (offset, into) => counted(() => readVmState(offset, into)) }),
    ...(info && { info: () => counted(info) }),
  }
}
