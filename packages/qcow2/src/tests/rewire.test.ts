/**
 * A graph that is rewired under a storm of guest requests: no request is lost, no flush returns before what it covers is
 * durable, and no read sees wrong bytes, whatever is put in, taken out or replaced meanwhile.
 */
import {
  type BlockNode,
  copyOnRead,
  type Disk,
  DriverRegistry,
  denyHost,
  formatImage,
  insertFilter,
  memory,
  openMemory,
  openNode,
  removeFilter,
  replaceNode,
} from '@vmblock/block-core'
import { aroundRequests, defineDriver, forwardOps, size } from '@vmblock/block-core/driver'
import { createRandom, type Random, toBytes } from '@vmblock/block-core/testing'
import { expect, test } from 'vitest'
import { qcow2 } from '../index.ts'

const SECTOR = 512
/** Sectors of one writer, and writers: each has a part of the disk to itself, so that it knows what it must read. */
const SECTORS = 96
const WRITERS = 5
const DISK = SECTORS * SECTOR * WRITERS
const ROUNDS = 60
const CHANGES = 40

/** What a disk with a volatile cache keeps through a power cut, by its node name. */
const durable = new Map<string, Uint8Array>()

/** A disk in memory whose writes are durable once it is flushed. */
const platter = defineDriver({
  name: 'platter',
  kind: 'protocol',
  options: { size: size('Bytes', 0) },
  async open({ nodeName }) {
    let bytes = new Uint8Array(0)
    const reach = (end: number) => {
      if (end <= bytes.length) return
      const longer = new Uint8Array(end)
      longer.set(bytes)
      bytes = longer
    }
    durable.set(nodeName, bytes)
    return {
      growable: true,
      size: () => bytes.length,
      async read(offset, into) {
        into.fill(0)
        into.set(bytes.subarray(offset, offset + into.length))
      },
      async write(offset, from) {
        reach(offset + from.length)
        bytes.set(from, offset)
      },
      async truncate(length) {
        reach(length)
        bytes = bytes.slice(0, length)
      },
      async flush() {
        durable.set(nodeName, bytes.slice())
      },
    }
  },
})

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** Delays each request by a random number of turns, as a throttle does: requests overtake each other. */
const delaying = (random: Random) =>
  defineDriver({
    name: 'delay',
    kind: 'filter',
    open: async (context) =>
      aroundRequests(forwardOps(await context.requireChild('file')), async (_, run) => {
        for (let turns = random.int(0, 3); turns > 0; turns--) await turn()
        return run()
      }),
  })

/** The node that has the bytes of `node`, and the qcow2 node on the way there. */
function below(node: BlockNode): { readonly image: BlockNode; readonly bottom: BlockNode } {
  let image: BlockNode = node
  while (image.driver.name !== 'qcow2') image = image.file!.node
  let bottom = image
  while (bottom.file) bottom = bottom.file.node
  return { image, bottom }
}

async function storm(seed: number) {
  const random = createRandom(seed)
  const environment = {
    registry: new DriverRegistry([memory, qcow2, platter, copyOnRead, delaying(createRandom(seed + 1))]),
    host: denyHost,
  }
  const base = new Uint8Array(DISK).map((_, index) => (index % 250) + 1)
  const backing = openMemory(base, { readOnly: true })
  let names = 0
  const newPlatter = () => openNode(environment, { driver: 'platter', nodeName: `platter${names++}` })
  const copyOf = async (node: BlockNode): Promise<Disk> => {
    const copy = await newPlatter()
    await copy.write(0, await toBytes(node))
    return copy
  }
  const handles: Disk[] = []
  const file = await newPlatter()
  handles.push(file)
  await formatImage(qcow2, file, { size: DISK, clusterSize: 4096 })
  const disk = await openNode(environment, { driver: 'qcow2', file, backing })
  let isOver = false
  const counts = { requests: 0, flushes: 0, changes: 0 }

  /** One writer: what it wrote last is in `content`, sector by sector. */
  async function write(writer: number, own: Random): Promise<void> {
    const start = writer * SECTORS * SECTOR
    const content = base.slice(start, start + SECTORS * SECTOR)
    for (let round = 0; round < ROUNDS || !isOver; round++) {
      const first = own.int(0, SECTORS - 1)
      const bytes = own.int(1, Math.min(12, SECTORS - first)) * SECTOR
      const [offset, kind] = [first * SECTOR, own.int(0, 9)]
      counts.requests++
      if (kind < 4) {
        const data = own.bytes(bytes)
        await disk.write(start + offset, data)
        content.set(data, offset)
      } else if (kind === 4) {
        await disk.writeZeroes(start + offset, bytes)
        content.fill(0, offset, offset + bytes)
      } else if (kind < 8) {
        const into = new Uint8Array(bytes)
        await disk.read(start + offset, into)
        expect(Buffer.compare(into, content.subarray(offset, offset + bytes))).toBe(0)
      } else {
        await disk.flush()
        counts.flushes++
        // In the same step: what would be left if the power went now.
        const kept = durable.get(below(disk).bottom.name)!.slice()
        const image = await openNode(environment, {
          driver: 'qcow2',
          readOnly: true,
          file: openMemory(kept, { readOnly: true }),
          backing: openMemory(base, { readOnly: true }),
        })
        const into = new Uint8Array(content.length)
        await image.read(start, into)
        await image.close()
        expect(Buffer.compare(into, content)).toBe(0)
      }
    }
  }

  /** One change of the graph. */
  async function rewire(filters: BlockNode[]): Promise<void> {
    const { image, bottom } = below(disk)
    const kind = random.int(0, 5)
    if (kind === 0) filters.push(await insertFilter(disk, { driver: 'delay' }))
    else if (kind === 1) filters.push(await insertFilter(image, { driver: 'copy-on-read' }))
    else if (kind === 2) filters.push(await insertFilter(bottom, { driver: 'delay' }))
    else if (kind === 3) {
      const copy = await newPlatter()
      handles.push(copy)
      await replaceNode(bottom, async (old) => {
        await copy.write(0, await toBytes(old))
        return copy
      })
    } else if (kind === 4) {
      await replaceNode(image, async (old) => {
        await old.flush()
        const copy = await copyOf(bottom)
        handles.push(copy)
        const other = await openNode(environment, { driver: 'qcow2', file: copy, backing })
        handles.push(other)
        return other
      })
    } else if (filters.length > 0)
      await removeFilter(filters.splice(random.int(0, filters.length - 1), 1)[0]!)
    counts.changes++
  }

  const writers = Array.from({ length: WRITERS }, (_, writer) =>
    write(writer, createRandom(seed * 31 + writer)),
  )
  const filters: BlockNode[] = []
  const rewiring = (async () => {
    for (let change = 0; change < CHANGES; change++) await rewire(filters)
    isOver = true
  })()
  await Promise.all([...writers, rewiring.finally(() => (isOver = true))])
  const { read, write: written, flush } = disk.statistics
  expect([read.failed, written.failed, flush.failed]).toEqual([0, 0, 0])
  return counts
}

test.each([1, 2, 3])('a storm of requests, while the graph changes: seed %i', async (seed) => {
  expect(await storm(seed)).toMatchObject({ changes: CHANGES })
})
