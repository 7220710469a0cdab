/** The QED driver: one object, whose operations are in the other files of this folder. */
import {
  alignDown,
  BlockError,
  cow,
  defineDriver,
  type NodeInfo,
  type NodeOps,
  type PreparedReopen,
  type ReopenRequest,
  storage,
  viewOf,
} from '@vmblock/block-core/driver'
import { Feature, HEADER_BYTES, MAGIC } from './format/header.ts'
import { hostClock, type QedClock } from './idle-timer.ts'
import type { Image } from './image.ts'
import { loadCreation, loadUpkeep } from './load-upkeep.ts'
import { becomeWritable, openImage } from './open-image.ts'
import { blockStatus, read } from './read.ts'
import { write, zeroClusters } from './write.ts'

/** Replaceable parts of the driver. */
export interface QedDriverOptions {
  /** Measures the five seconds without an allocating write after which the need-check bit is cleared. */
  readonly clock?: QedClock
}

/** Longest zero write, in bytes, before it is rounded to clusters: QEMU's INT_MAX. */
const MAX_ZEROES = 2 ** 31 - 1

/** The operations of one open image. */
function operations(image: Image): NodeOps {
  const { clusterSize } = image
  return {
    limits: { writeZeroesAlignment: clusterSize, maxWriteZeroes: alignDown(MAX_ZEROES, clusterSize) },
    size: () => image.size,
    read: (offset, into) => read(image, offset, into),
    write: (offset, from) => write(image, offset, from),
    async writeZeroes(offset, bytes) {
      // In that case the core writes zeroes as data.
      if (offset % clusterSize !== 0 || bytes % clusterSize !== 0)
        throw new BlockError('ENOTSUP', 'only whole clusters can be zeroed by metadata', { offset })
      await zeroClusters(image, offset, bytes)
    },
    blockStatus: (offset, bytes) => blockStatus(image, offset, bytes),
    truncate: async (size, options) => (await loadUpkeep()).truncate(image, size, options),
    flush: () => image.flush(),
    check: async (options, control) => (await loadUpkeep()).checkImage(image, options, control),
    info: async () => infoOf(image),
    changeBackingFile: async (filename, format) =>
      (await loadUpkeep()).changeBackingFile(image, filename, format),
    setBacking(backing) {
      image.backing = backing
    },
    prepareReopen: (request) => prepareReopen(image, request),
    async close() {
      try {
        if (image.writable) await quiesce(image)
      } finally {
        image.drop()
      }
    },
    crash: () => image.drop(),
  }
}

/** Brings everything to disk, and marks the image clean. Waits if the idle timer is just doing that. */
async function quiesce(image: Image): Promise<void> {
  await image.flush()
  await image.lock.run(async () => {
    await image.cut()
    await image.markClean()
  })
}

function infoOf(image: Image): NodeInfo {
  const { features, clusterSize } = image.header
  return {
    clusterSize,
    dirty: image.needCheck,
    ...(image.backingName === undefined ? {} : { backingFilename: image.backingName }),
    ...((features & Feature.backingIsRaw) === 0n ? {} : { backingFormat: 'raw' }),
  }
}

/** An image that becomes read-only is left clean, a writable one is repaired first. QEMU does neither. */
async function prepareReopen(image: Image, { readOnly }: ReopenRequest): Promise<PreparedReopen> {
  const wasWritable = image.writable
  if (wasWritable && readOnly) await quiesce(image)
  if (!wasWritable && !readOnly) await becomeWritable(image)
  return {
    commit() {
      image.writable = !readOnly
    },
    abort() {
      image.writable = wasWritable
    },
  }
}

/** Makes a driver. Most programs use {@link qed}. */
export const createQedDriver = ({ clock = hostClock }: QedDriverOptions = {}) =>
  defineDriver({
    name: 'qed',
    kind: 'format',
    children: { file: storage, backing: cow },
    creation: async () => (await loadCreation()).qedCreation,
    probe: (head) => (head.length >= HEADER_BYTES && viewOf(head).getUint32(0, true) === MAGIC ? 100 : 0),
    open: async (context) => operations(await openImage(context, clock)),
  })

/** The QED format driver. */
export const qed = createQedDriver()
