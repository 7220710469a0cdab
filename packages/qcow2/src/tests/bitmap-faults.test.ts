/**
 * Errors of the file, at each request in turn, in the life of an image with bitmaps: whatever fails, the image is
 * consistent, and each bitmap is exact or says that it is not.
 */
import {
  type BlockNode,
  bitmapsOf,
  DriverRegistry,
  denyHost,
  memory,
  openMemory,
  openNode,
  reopenNode,
} from '@vmblock/block-core'
import { toBytes } from '@vmblock/block-core/testing'
import { describe, expect, test } from 'vitest'
import { qcow2 } from '../driver.ts'
import { FaultyRequests } from '../testing/faulty-requests.ts'
import { createImage, filled, findings, open } from '../testing/images.ts'

const CLUSTER = 512
const SIZE = 64 * 1024

async function makeImage(lazy: boolean): Promise<BlockNode> {
  const file = await createImage({ size: SIZE, cluster_size: CLUSTER, lazy_refcounts: lazy })
  const node = await open(file)
  const bitmaps = bitmapsOf(node)
  await node.write(0, filled(1, 4096))
  await bitmaps.add('b', { granularity: CLUSTER })
  await bitmaps.add('gone', { granularity: CLUSTER })
  await node.write(8192, filled(1, 1024))
  await node.close()
  return file
}

/** What is done: each step may fail, and the next goes on. */
async function live(node: BlockNode, dies: boolean): Promise<void> {
  const steps: (() => Promise<unknown>)[] = [
    () => node.write(16384, filled(2, 1024)),
    () => bitmapsOf(node).remove('gone'),
    () => bitmapsOf(node).add('new', { granularity: 2048 }),
    () => node.write(0, filled(2, 512)),
    () => node.flush(),
    () => node.truncate(SIZE + 4096),
    () => node.write(SIZE, filled(3, 4096)),
    () => bitmapsOf(node).disable('new'),
    () => node.flush(),
    () => reopenNode(node, { readOnly: true }),
    () => reopenNode(node, { readOnly: false }),
    // In place: the file has it at once.
    () => node.write(2048, filled(5, 512)),
    () => (dies ? node.crash() : node.close()),
  ]
  for (const step of steps) await step().catch(() => undefined)
}

/** 'b' has recorded all but the first 4 KiB. */
async function judge(file: BlockNode, what: string): Promise<void> {
  const { corruptions, checkErrors, lines } = await findings(file)
  const node = await open(file, { readOnly: true })
  const { dirty } = await node.info()
  expect(dirty ? 0 : corruptions + checkErrors, `${what}: ${lines.join('; ')}`).toBe(0)
  const bitmaps = bitmapsOf(node)
  const b = (await bitmaps.list()).find(({ name }) => name === 'b')
  if (b && !b.inconsistent) {
    const recorded = await bitmaps.dirtyRanges('b')
    const content = await toBytes(node)
    const isRecorded = (at: number): boolean =>
      recorded.some(({ offset, bytes }) => at >= offset && at < offset + bytes)
    for (let at = 0; at < content.length; at += CLUSTER)
      if (content[at] !== (at < 4096 ? 1 : 0)) expect(isRecorded(at), `${what}: ${at} is recorded`).toBe(true)
  }
  await node.close()
  const writer = await open(file)
  await writer.write(0, filled(7, 512))
  await writer.close()
  expect(await findings(file), what).toMatchObject({ corruptions: 0, checkErrors: 0 })
}

describe.each([
  ['eager', false],
  ['lazy', true],
])('an error in an image with bitmaps and %s refcounts', (_, lazy) => {
  test.each([
    ['one request fails', 1, 'EIO', false],
    ['one request fails, and the process dies', 1, 'EIO', true],
    ['all fail from then on', Number.MAX_SAFE_INTEGER, 'EIO', false],
    ['there is no more room', Number.MAX_SAFE_INTEGER, 'ENOSPC', false],
  ] as const)('%s', { timeout: 120_000 }, async (name, count, code, dies) => {
    const image = await toBytes(await makeImage(lazy))
    let total = Number.POSITIVE_INFINITY
    for (let first = 0; first < total; first++) {
      const file = openMemory(image.slice())
      const faults = new FaultyRequests(first, count, code)
      const environment = { registry: new DriverRegistry([memory, faults.driver, qcow2]), host: denyHost }
      const node = await openNode(environment, { driver: 'qcow2', file: { driver: 'faults', file } })
      await live(node, dies)
      if (node.isOpen) await node.crash()
      await judge(file, `${name}, at ${first}`)
      if (faults.seen <= first) total = first
    }
    expect(total).toBeGreaterThan(20)
  })
})
