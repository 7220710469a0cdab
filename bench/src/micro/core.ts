/** Hot functions of the block layer itself: zero detection, the cache of tables, locks, flushes. */
import {
  type BlockNode,
  DriverRegistry,
  denyHost,
  memory,
  type NodeOptions,
  nullCo,
  openNode,
} from '@vmblock/block-core'
import {
  type BlockChild,
  defineDriver,
  forwardOps,
  isZero,
  Mutex,
  type NodeOps,
  RangeTracker,
  TableCache,
} from '@vmblock/block-core/driver'
import { FlushQueue } from '../../../packages/block-core/src/base/flush-queue.ts'
import { BATCH, FEW, type Micro, sink } from './benchmark.ts'

/** A driver that exposes its child, because caches work on one. */
let child: BlockChild | undefined
const lender = defineDriver({
  name: 'lender',
  kind: 'filter',
  async open(context): Promise<NodeOps> {
    child = await context.requireChild('file')
    return forwardOps(child)
  },
})

const environment = { registry: new DriverRegistry([memory, nullCo, lender]), host: denyHost }

const SLICE = 4096
const SLICES = 64

async function makeCache(capacity: number): Promise<TableCache> {
  sink.value = await openNode(environment, {
    driver: 'lender',
    file: { driver: 'memory', size: SLICE * 256 },
  })
  return new TableCache({
    file: child!,
    sliceSize: SLICE,
    capacity,
    events: { load: 'l2_load', update: 'l2_update' },
    flushData: () => Promise.resolve(),
  })
}

const zeroes = (name: string, bytes: number, last?: number, batch = BATCH): Micro => ({
  name,
  batch,
  async prepare() {
    // Written first: pages that were never written are all one page of the kernel's.
    const buffer = new Uint8Array(bytes).fill(1).fill(0)
    if (last !== undefined) buffer[last] = 1
    return () => {
      for (let i = 0; i < batch; i++) sink.value = isZero(buffer)
    }
  },
})

const locked = (name: string, waiting: number): Micro => ({
  name,
  batch: BATCH,
  async prepare() {
    const mutex = new Mutex()
    const body = async (): Promise<void> => {}
    return async () => {
      for (let i = 0; i < BATCH; i += waiting)
        if (waiting === 1) await mutex.run(body)
        else await Promise.all(Array.from({ length: waiting }, () => mutex.run(body)))
    }
  },
})

const tracked = (name: string, inFlight: number): Micro => ({
  name,
  batch: BATCH,
  async prepare() {
    const tracker = new RangeTracker()
    let end!: () => void
    const ended = new Promise<void>((resolve) => {
      end = resolve
    })
    for (let i = 1; i <= inFlight; i++) void tracker.run(i * 65536, 65536, true, () => ended)
    sink.value = end
    const body = async (): Promise<void> => {}
    return async () => {
      for (let i = 0; i < BATCH; i++) await tracker.run(0, 4096, true, body)
    }
  },
})

const flushed = (name: string, together: number, writes: boolean): Micro => ({
  name,
  batch: BATCH,
  async prepare() {
    const queue = new FlushQueue(async () => {})
    return async () => {
      for (let i = 0; i < BATCH; i += together) {
        if (together === 1) {
          if (writes) queue.wrote()
          await queue.flush()
          continue
        }
        const all = Array.from({ length: together }, () => {
          queue.wrote()
          return queue.flush()
        })
        await Promise.all(all)
      }
    }
  },
})

const NULL: NodeOptions = { driver: 'null-co', size: 2 ** 30 }
const WRITE_THROUGH: NodeOptions = { ...NULL, cache: { writeback: false } }
const FILTERED: NodeOptions = { driver: 'lender', file: NULL }

const requests = (
  name: string,
  options: NodeOptions,
  request: (node: BlockNode, offset: number, buffer: Uint8Array) => Promise<unknown>,
): Micro => ({
  name,
  batch: BATCH,
  async prepare() {
    const node = await openNode(environment, options)
    const buffer = new Uint8Array(4096).fill(1)
    return async () => {
      for (let i = 0; i < BATCH; i++) await request(node, (i * 4096) % 2 ** 20, buffer)
    }
  },
})

/** The hot functions of the block layer. */
export const coreMicros: readonly Micro[] = [
  zeroes('zero detection, 4 KiB of zeroes', 4096, undefined, FEW),
  zeroes('zero detection, 64 KiB of zeroes', 65536, undefined, FEW),
  zeroes('zero detection, 64 KiB that begin with data', 65536, 0),
  zeroes('zero detection, 64 KiB that end with data', 65536, 65535, FEW),
  {
    name: 'table cache, hit',
    batch: BATCH,
    async prepare() {
      const cache = await makeCache(SLICES)
      for (let i = 0; i < SLICES; i++) await cache.load(i * SLICE)
      return () => {
        for (let i = 0; i < BATCH; i++) sink.value = cache.peek(((i * 7) % SLICES) * SLICE)
      }
    },
  },
  {
    name: 'table cache, miss and load from memory',
    batch: FEW,
    async prepare() {
      const cache = await makeCache(SLICES)
      let next = 0
      return async () => {
        // Four times as many slices as there is room for, in turn: each is gone when its turn comes again.
        for (let i = 0; i < FEW; i++) await cache.load((next++ % (4 * SLICES)) * SLICE)
      }
    },
  },
  {
    name: 'table cache, change and write back',
    batch: BATCH,
    async prepare() {
      const cache = await makeCache(SLICES)
      await cache.load(0)
      return async () => {
        for (let i = 0; i < BATCH; i++) {
          cache.changed(cache.peek(0)!, 8, 16)
          await cache.writeBack()
        }
      }
    },
  },
  locked('mutex, free', 1),
  locked('mutex, 8 in a row', 8),
  tracked('range tracker, alone', 0),
  tracked('range tracker, beside 63 others', 63),
  flushed('flush queue, nothing written', 1, false),
  flushed('flush queue, a flush each', 1, true),
  flushed('flush queue, 64 flushes at a time', 64, true),
  requests('read 4 KiB of null-co', NULL, (node, at, buffer) => node.read(at, buffer)),
  requests('write 4 KiB to null-co', NULL, (node, at, buffer) => node.write(at, buffer)),
  requests('write 4 KiB to null-co, write-through', WRITE_THROUGH, (node, at, buffer) =>
    node.write(at, buffer),
  ),
  requests('block status of null-co', NULL, (node, at) => node.blockStatus(at, 4096)),
  requests('read 4 KiB through a filter', FILTERED, (node, at, buffer) => node.read(at, buffer)),
  requests('write 4 KiB through a filter', FILTERED, (node, at, buffer) => node.write(at, buffer)),
]
