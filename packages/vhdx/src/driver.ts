/** The VHDX driver: one object, whose operations are in the other files of this folder. */
import {
  type BlockChild,
  type CheckOptions,
  type CheckReport,
  cow,
  defineDriver,
  type JobControl,
  type NodeInfo,
  type NodeOps,
  type PreparedReopen,
  type ReopenRequest,
  storage,
} from '@vmblock/block-core/driver'
import type { Image } from './image.ts'
import { loadCheck, loadCreation, loadOpening } from './load-parts.ts'
import type { Opening } from './open-image.ts'

/** What {@link createVhdxDriver} may be told: for tests. */
export interface VhdxDriverOptions {
  /** Bytes of the log that are used at most, until it is emptied. Default: all. */
  readonly logLimit?: number
}

/** An open node: the image changes with a reopen. */
interface Open {
  image: Image
  /** There is a log that has to be replayed in the file. */
  hasLog: boolean
}

/** The operations of one open image. */
async function openOps(opening: Opening): Promise<NodeOps> {
  const { openImage, remember } = await loadOpening()
  const open: Open = await openImage(opening)
  /** Opens the file again, over the parent that there is. */
  const again = async (writable: boolean, checkMode: boolean): Promise<Open> => {
    const { backing } = open.image
    return openImage({ ...opening, writable, checkMode, parent: async () => backing })
  }
  const adopt = (next: Open): void => {
    open.image = next.image
    open.hasLog = next.hasLog
  }
  const ops: NodeOps = {
    size: () => open.image.size,
    read: (offset, into) => open.image.read(offset, into),
    write: (offset, from) => open.image.write(offset, from),
    writeZeroes: (offset, bytes, { mayUnmap }) => open.image.writeZeroes(offset, bytes, mayUnmap === true),
    zeroFlags: new Set(['mayUnmap']),
    discard: (offset, bytes) => open.image.discard(offset, bytes),
    blockStatus: (offset, bytes) => open.image.blockStatus(offset, bytes),
    flush: () => open.image.flush(),
    check: (options, control) => check(open, { options, control, again, adopt }),
    info: async () => infoOf(open.image),
    setBacking(backing: BlockChild | undefined) {
      open.image.backing = backing
    },
    prepareReopen: (request) => prepareReopen(open, request, again, adopt),
    close: () => open.image.quiesce(),
  }
  remember(ops, open)
  return ops
}

/** What a check of an open node has to do besides. */
interface CheckOfOpen {
  readonly options: CheckOptions
  readonly control: JobControl
  again(writable: boolean, checkMode: boolean): Promise<Open>
  adopt(next: Open): void
}

async function check(open: Open, { options, control, again, adopt }: CheckOfOpen): Promise<CheckReport> {
  const { checkImage } = await loadCheck()
  const { image } = open
  await image.quiesce()
  const mustReplay = open.hasLog && options.repair !== undefined
  if (mustReplay) {
    const { replayLog } = await loadOpening()
    await replayLog(image.file)
    adopt(await again(false, true))
  }
  // The table on disk is up to date now; what is in memory is older, or the same.
  const { image: latest } = image.writable ? await again(false, true) : open
  return checkImage(latest, options, control, mustReplay)
}

function infoOf({ tables }: Image): NodeInfo {
  const { parent, disk } = tables
  return {
    clusterSize: disk.blockSize,
    ...(parent && { backingFilename: parent.filename, backingFormat: 'vhdx' }),
  }
}

/** An image that becomes read-only has an empty log afterwards; one that becomes writable is read anew. */
async function prepareReopen(
  open: Open,
  { readOnly }: ReopenRequest,
  again: CheckOfOpen['again'],
  adopt: CheckOfOpen['adopt'],
): Promise<PreparedReopen> {
  if (open.image.writable !== readOnly) {
    if (readOnly) await open.image.quiesce()
    return { commit: () => undefined, abort: () => undefined }
  }
  await open.image.quiesce()
  const next = await again(!readOnly, false)
  return { commit: () => adopt(next), abort: () => undefined }
}

/** Makes a driver. Most programs use {@link vhdx}. */
export const createVhdxDriver = ({ logLimit }: VhdxDriverOptions = {}) =>
  defineDriver({
    name: 'vhdx',
    kind: 'format',
    children: { file: storage, backing: cow },
    creation: async () => (await loadCreation()).vhdxCreation,
    probe: (head) => (SIGNATURE.every((byte, i) => head[i] === byte) ? 100 : 0),
    async open(context): Promise<NodeOps> {
      return openOps({
        nodeName: context.nodeName,
        file: await context.requireChild('file'),
        checkMode: context.checkMode,
        writable: !context.readOnly,
        logLimit,
        parent: (reference) => context.child('backing', reference),
      })
    },
  })

/** `vhdxfile` */
const SIGNATURE = [...'vhdxfile'].map((letter) => letter.charCodeAt(0))

/** The VHDX format driver. */
export const vhdx = createVhdxDriver()
