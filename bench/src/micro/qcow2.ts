/** Hot functions of qcow2: from guest offset to host offset, refcounts, and the whole path of a request. */
import {
  type BlockNode,
  bitmapsOf,
  DriverRegistry,
  denyHost,
  formatImage,
  memory,
  openNode,
} from '@vmblock/block-core'
import { defineDriver, forwardOps, type NodeOps } from '@vmblock/block-core/driver'
import { qcow2 } from '@vmblock/qcow2'
import { raw } from '@vmblock/raw'
import type { Image } from '../../../packages/qcow2/src/image/image.ts'
import { loadMaintenance } from '../../../packages/qcow2/src/load-part.ts'
import { loadRun, peekRun } from '../../../packages/qcow2/src/mapping/lookup.ts'
import { openImage } from '../../../packages/qcow2/src/open/open-image.ts'
import { addToRefcounts, findFree, getRefcount } from '../../../packages/qcow2/src/refcounts/refcounts.ts'
import { BATCH, type Micro, sink } from './benchmark.ts'

const CLUSTER = 65536
const SIZE = 16 * 2 ** 20
const CLUSTERS = SIZE / CLUSTER
/** Visits all clusters, each far from the one before. */
const STEP = 101

/** The qcow2 driver, but with access to the image that it opens. */
let opened: Image | undefined
const open = defineDriver({
  ...qcow2,
  name: 'qcow2',
  async open(context): Promise<NodeOps> {
    opened = await openImage(context as Parameters<typeof qcow2.open>[0], {}, loadMaintenance)
    return forwardOps(opened.file)
  },
})

const environment = { registry: new DriverRegistry([memory, raw, qcow2]), host: denyHost }
const inside = { registry: new DriverRegistry([memory, open]), host: denyHost }

/** A file in memory, with an image whose clusters are all allocated. */
async function fullFile(format: 'qcow2' | 'raw'): Promise<BlockNode> {
  const file = await openNode(environment, { driver: 'memory' })
  await formatImage(environment.registry.get(format), file, { size: SIZE })
  const node = await openNode(environment, { driver: format, file })
  for (let offset = 0; offset < SIZE; offset += 2 ** 20)
    await node.write(offset, new Uint8Array(2 ** 20).fill(1))
  await node.close()
  return file
}

async function fullImage(): Promise<Image> {
  const file = await fullFile('qcow2')
  const node = await openNode(inside, { driver: 'qcow2', file })
  // Loads the tables.
  const image = opened!
  for (let cluster = 0; cluster < CLUSTERS; cluster++) {
    await loadRun(image, cluster * CLUSTER, 1)
    await getRefcount(image, cluster)
  }
  sink.value = node
  return image
}

/** Goes through the clusters in steps. */
function offsets(): () => number {
  let cluster = 0
  return () => {
    cluster = (cluster + STEP) % CLUSTERS
    return cluster * CLUSTER
  }
}

const lookup = (name: string, bytes: number, forWriting: boolean): Micro => ({
  name,
  batch: BATCH,
  async prepare() {
    const image = await fullImage()
    const next = offsets()
    return () => {
      for (let i = 0; i < BATCH; i++) sink.value = peekRun(image, next(), bytes, forWriting)
    }
  },
})

const request = (
  name: string,
  format: 'qcow2' | 'raw',
  run: (node: BlockNode, offset: number, buffer: Uint8Array) => Promise<void>,
  prepare: (node: BlockNode) => Promise<void> = async () => undefined,
): Micro => ({
  name,
  batch: BATCH,
  async prepare() {
    const node = await openNode(environment, { driver: format, file: await fullFile(format) })
    await prepare(node)
    const next = offsets()
    const buffer = new Uint8Array(4096).fill(2)
    return async () => {
      for (let i = 0; i < BATCH; i++) await run(node, next(), buffer)
    }
  },
})

/** The hot functions of qcow2. */
export const qcow2Micros: readonly Micro[] = [
  lookup('L2 lookup, 4 KiB', 4096, false),
  lookup('L2 lookup, 4 KiB to be written', 4096, true),
  lookup('L2 lookup, 1 MiB in 16 clusters', 2 ** 20, false),
  {
    name: 'refcount, read',
    batch: BATCH,
    async prepare() {
      const image = await fullImage()
      return async () => {
        for (let i = 0; i < BATCH; i++) sink.value = await getRefcount(image, (i * STEP) % CLUSTERS)
      }
    },
  },
  {
    name: 'refcount, raised and lowered',
    batch: BATCH * 2,
    async prepare() {
      const image = await fullImage()
      return async () => {
        for (let i = 0; i < BATCH; i++) {
          const cluster = (i * STEP) % CLUSTERS
          await addToRefcounts(image, cluster, 1, 1)
          await addToRefcounts(image, cluster, 1, -1)
        }
      }
    },
  },
  {
    name: 'free cluster, found behind 256 others',
    batch: 10,
    async prepare() {
      const image = await fullImage()
      return async () => {
        for (let i = 0; i < 10; i++) {
          image.freeHint.moveTo(0)
          sink.value = await findFree(image, 1)
        }
      }
    },
  },
  request('read 4 KiB of qcow2 in memory', 'qcow2', (node, offset, buffer) => node.read(offset, buffer)),
  request('overwrite 4 KiB of qcow2 in memory', 'qcow2', (node, offset, buffer) =>
    node.write(offset, buffer),
  ),
  request(
    'overwrite 4 KiB of qcow2 in memory, recorded in a bitmap',
    'qcow2',
    (node, offset, buffer) => node.write(offset, buffer),
    (node) => bitmapsOf(node).add('changes'),
  ),
  request('read 4 KiB of raw in memory', 'raw', (node, offset, buffer) => node.read(offset, buffer)),
  {
    name: 'allocating write of 4 KiB to qcow2 in memory',
    batch: CLUSTERS,
    async prepare() {
      const buffer = new Uint8Array(4096).fill(2)
      return async () => {
        const file = await openNode(environment, { driver: 'memory' })
        // Small clusters; otherwise the cost of memory would dominate.
        await formatImage(qcow2, file, { size: SIZE, clusterSize: 4096 })
        const node = await openNode(environment, { driver: 'qcow2', file })
        for (let cluster = 0; cluster < CLUSTERS; cluster++) await node.write(cluster * 4096, buffer)
        await node.crash()
      }
    },
  },
]
