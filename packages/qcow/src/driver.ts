/** The driver of qcow version 1: one object, whose operations are in the other files of this folder. */
import {
  cow,
  defineDriver,
  loadOnce,
  type NodeInfo,
  type NodeOps,
  SECTOR,
  storage,
  text,
  viewOf,
} from '@vmblock/block-core/driver'
import { HEADER_BYTES, MAGIC, VERSION } from './format/header.ts'
import type { Image } from './image.ts'

/** @throws BlockError EIO if the code cannot be loaded */
const loadRequests = loadOnce('qcow images', () => import('./requests.ts'))
/** @throws BlockError EIO if the code cannot be loaded */
const loadUpkeep = loadOnce('making and emptying qcow images', () => import('./upkeep.ts'))

type Requests = Awaited<ReturnType<typeof loadRequests>>

/** The operations of one open image. */
function operations(
  image: Image,
  { read, write, writeZeroes, writeCompressed, blockStatus }: Requests,
): NodeOps {
  const { clusterSize } = image.header
  return {
    limits: {
      compressedAlignment: clusterSize,
      ...(image.cipher && { requestAlignment: SECTOR }),
    },
    size: () => image.header.size,
    read: (offset, into) => read(image, offset, into),
    write: (offset, from) => write(image, offset, from),
    writeZeroes: (offset, bytes) => writeZeroes(image, offset, bytes),
    writeCompressed: (offset, from) => writeCompressed(image, offset, from),
    blockStatus: (offset, bytes) => blockStatus(image, offset, bytes),
    flush: () => image.flush(),
    info: async () => infoOf(image),
    makeEmpty: async () => (await loadUpkeep()).makeEmpty(image),
    setBacking(backing) {
      image.backing = backing
    },
    async prepareReopen({ readOnly }) {
      if (readOnly && image.isUnsure) await image.flush()
      return { commit: () => undefined, abort: () => undefined }
    },
    async close() {
      try {
        if (image.isUnsure) await image.flush()
      } finally {
        drop(image)
      }
    },
    crash: () => drop(image),
  }
}

function drop(image: Image): void {
  image.drop()
  image.cipher?.close()
}

function infoOf({ header, backingName }: Image): NodeInfo {
  return {
    clusterSize: header.clusterSize,
    ...(header.isEncrypted && { encrypted: true }),
    ...(backingName !== undefined && { backingFilename: backingName }),
  }
}

function probe(head: Uint8Array): number {
  if (head.length < HEADER_BYTES) return 0
  const view = viewOf(head)
  return view.getUint32(0) === MAGIC && view.getUint32(4) === VERSION ? 100 : 0
}

/** Disks in version 1 of qcow, which qcow2 replaced. */
export const qcow = defineDriver({
  name: 'qcow',
  kind: 'format',
  options: { 'encrypt.format': text(), 'encrypt.keySecret': text() },
  children: { file: storage, backing: cow },
  creation: async () => (await loadUpkeep()).qcowCreation,
  canCompress: true,
  probe,
  async open(context) {
    const requests = await loadRequests()
    const image = await requests.openImage(context)
    const ops = operations(image, requests)
    // Described without its key.
    if (!image.header.isEncrypted || image.cipher) return ops
    const { size, info, close, crash } = ops as Required<NodeOps>
    return { size, read: () => requests.refuseWithoutKey(image), info, close, crash }
  },
})
