/** The qcow2 driver: one object, whose operations are in the other files of this folder. */
import {
  type BlockStatus,
  cow,
  data,
  defineDriver,
  type NodeOps,
  storage,
  viewOf,
} from '@vmblock/block-core/driver'
import { MAGIC } from './format/header-layout.ts'
import type { Codecs } from './image/cluster-codec.ts'
import type { Image } from './image/image.ts'
import { loadMaintenance } from './load-part.ts'
import { openImage } from './open/open-image.ts'
import { MUTABLE_OPTIONS, runtimeOptions } from './options/options.ts'
import { discard } from './requests/discard.ts'
import { flushImage, quiesceImage } from './requests/flush.ts'
import { read } from './requests/read.ts'
import { isCrammed, isForWantOfRoom, makeRoom, rescue } from './requests/room.ts'
import { blockStatus } from './requests/status.ts'
import { write } from './requests/write.ts'
import { writeZeroes } from './requests/zero.ts'

/** Replaceable parts of the driver. */
export interface Qcow2DriverOptions {
  /** Codecs to use instead of those of `@vmblock/compression`. */
  readonly codecs?: Codecs
}

const ZERO_FLAGS = new Set(['mayUnmap', 'noFallback'] as const)

/** The operations of one open image. */
function operations(image: Image): NodeOps {
  const { clusterSize, subclusterSize } = image.geometry
  return {
    limits: {
      writeZeroesAlignment: subclusterSize,
      discardAlignment: clusterSize,
      compressedAlignment: clusterSize,
    },
    ...(image.header.version >= 3 ? { zeroFlags: ZERO_FLAGS } : {}),
    size: () => image.size,
    read: (offset, into) => read(image, offset, into),
    write: (offset, from) => write(image, offset, from),
    writeCompressed: async (offset, from) => (await loadMaintenance()).writeCompressed(image, offset, from),
    writeZeroes: (offset, bytes, flags) => withRoom(image, () => writeZeroes(image, offset, bytes, flags)),
    discard: (offset, bytes) => withRoom(image, () => discard(image, offset, bytes)),
    blockStatus: (offset, bytes) => statusOf(image, offset, bytes),
    truncate: async (size, options) => {
      const { truncate } = await loadMaintenance()
      await withRoom(image, () => truncate(image, size, options))
    },
    flush: () => flushImage(image),
    readVmState: async (offset, into) => (await loadMaintenance()).readVmState(image, offset, into),
    writeVmState: async (offset, from) => (await loadMaintenance()).writeVmState(image, offset, from),
    check: async (options, control) => (await loadMaintenance()).checkImage(image, options, control),
    info: async () => (await loadMaintenance()).info(image),
    listSnapshots: async () =>
      image.header.nbSnapshots > 0 ? (await loadMaintenance()).listSnapshots(image) : [],
    snapshots: async () => (await loadMaintenance()).snapshots(image),
    bitmaps: async () => (await loadMaintenance()).bitmapOps(image),
    makeEmpty: async () => (await loadMaintenance()).makeEmpty(image),
    changeBackingFile: async (filename, format) =>
      (await loadMaintenance()).changeBackingFile(image, filename, format),
    setBacking(backing) {
      image.backing = backing
    },
    amend: async (options, control) => (await loadMaintenance()).amend(image, options, control),
    compact: async (options, alone) => (await loadMaintenance()).compactImage(image, options, alone),
    prepareReopen: async (request) => (await loadMaintenance()).prepareReopen(image, request),
    close: () => closeImage(image),
    crash: () => image.dropCaches(),
  }
}

/** Runs a request that may allocate or free. If it finds no room, frees what waits, and runs it again. */
async function withRoom<T>(image: Image, run: () => Promise<T>): Promise<T> {
  if (isCrammed(image)) await makeRoom(image)
  const { released } = image.frees
  try {
    return await run()
  } catch (error) {
    if (!isForWantOfRoom(error)) throw error
    return (await rescue(image, error)).tryAgain(image, { error, released, tries: 0 }, run)
  }
}

/** Block status from the tables; if the image is mostly holes, the file is asked about its data, too. */
async function statusOf(image: Image, offset: number, bytes: number): Promise<BlockStatus> {
  // If the code cannot be loaded, the tables alone decide.
  image.isMostlyHoles ??= loadMaintenance().then(
    (part) => part.isMostlyHoles(image),
    () => false,
  )
  const recurse = await image.isMostlyHoles
  const status = await blockStatus(image, offset, bytes)
  return recurse && status.data && status.host ? { ...status, recurse } : status
}

/** Brings everything to disk, cuts off the end of the file if it was freed, and marks the image clean. */
async function closeImage(image: Image): Promise<void> {
  if (image.writable) {
    await quiesceImage(image).catch(async (error: unknown) => {
      await (await loadMaintenance()).flushCacheByCache(image, error)
      await quiesceImage(image)
    })
    await image.bitmaps?.store()
    // If that fails, the file stays longer.
    if (image.frees.released > 0)
      await loadMaintenance()
        .then((part) => part.cutEnd(image))
        .catch(Boolean)
    await image.dirtyBit.clear()
  }
  image.dropCaches()
}

/** 100 for qcow2 version 2 or later, from the first bytes. */
function probe(head: Uint8Array): number {
  if (head.length < 8) return 0
  const view = viewOf(head)
  return view.getUint32(0) === MAGIC && view.getUint32(4) >= 2 ? 100 : 0
}

/** Makes a qcow2 driver with other codecs than the default one. */
export const createQcow2Driver = ({ codecs = {} }: Qcow2DriverOptions = {}) =>
  defineDriver({
    name: 'qcow2',
    kind: 'format',
    options: runtimeOptions,
    mutableOptions: MUTABLE_OPTIONS,
    keepOptions: async () => (await loadMaintenance()).keepOptions,
    children: { file: storage, backing: cow, 'data-file': data },
    creation: async () => (await loadMaintenance()).creation,
    amendOptions: async () => (await loadMaintenance()).amendOptions,
    canCompress: true,
    probe,
    async open(context) {
      const image = await openImage(context, codecs, loadMaintenance)
      const ops = operations(image)
      return image.encryption?.operations(ops) ?? ops
    },
  })

/** The qcow2 driver. */
export const qcow2 = createQcow2Driver()
