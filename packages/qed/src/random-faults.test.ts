/** Random failures of requests to the file: no successful request is lost, and the image stays sound. */
import { BlockError, type BlockNode, WriteLog, writeLog } from '@vmblock/block-core'
import { CrashGuest, createRandom, nodeOf, openTestNode } from '@vmblock/block-core/testing'
import { expect, it } from 'vitest'
import { createQedDriver } from './driver.ts'
import { createImage, TestClock } from './testing/images.ts'

/** A node that passes requests on to `file`, unless `mayFail` makes them fail. */
function faulty(file: BlockNode, mayFail: () => boolean): BlockNode {
  const attempt = async (run: () => Promise<void>): Promise<void> => {
    if (mayFail()) throw new BlockError('EIO', 'injected')
    await run()
  }
  return nodeOf({
    growable: true,
    size: () => file.size,
    read: (offset, into) => attempt(() => file.read(offset, into)),
    write: (offset, from) => attempt(() => file.write(offset, from)),
    truncate: (size) => attempt(() => file.truncate(size)),
    flush: () => attempt(() => file.flush()),
  })
}

it('counts the need-check bit as set only when that is durable', async () => {
  const image = await createImage({ cluster_size: 4096, table_size: 1, size: 4 * 2 ** 20 })
  let failing = false
  const log = new WriteLog()
  const broken = faulty(image, () => failing)
  const file = await openTestNode(writeLog, { options: { log }, children: { file: broken } })
  const node = await openTestNode(createQedDriver({ clock: new TestClock() }), { children: { file } })
  await node.writeZeroes(8192, 4096)
  const flush = broken.flush.bind(broken)
  broken.flush = () => {
    failing = true
    return flush()
  }
  await expect(node.write(0, new Uint8Array(512))).rejects.toThrow('injected')
  broken.flush = flush
  failing = false
  const flushes = log.count().flushes
  await node.write(0, new Uint8Array(512))
  expect(log.count().flushes).toBe(flushes + 1)
})

it('does not count on a need-check bit that could not be cleared for sure', async () => {
  const image = await createImage({ cluster_size: 4096, table_size: 1, size: 4 * 2 ** 20 })
  /** The header's features, as a crash would leave them. */
  const needsCheck = async (): Promise<boolean> => {
    const word = new Uint8Array(1)
    await image.read(16, word)
    return (word[0]! & 2) !== 0
  }
  let failing = false
  const broken = nodeOf({
    growable: true,
    size: () => image.size,
    read: (offset, into) => image.read(offset, into),
    async write(offset, from) {
      await image.write(offset, from)
      // Carried out, but reported as failed.
      if (failing && offset === 0) throw new BlockError('EIO', 'injected')
    },
    truncate: (size) => image.truncate(size),
    flush: () => image.flush(),
  })
  const clock = new TestClock()
  const node = await openTestNode(createQedDriver({ clock }), { children: { file: broken } })
  await node.write(0, new Uint8Array(512).fill(1))
  failing = true
  clock.elapse()
  for (let turns = 0; turns < 200; turns++) await Promise.resolve()
  failing = false
  expect(await needsCheck()).toBe(false)
  await node.write(2 ** 20, new Uint8Array(512).fill(1))
  expect(await needsCheck()).toBe(true)
  await node.close()
  expect(await needsCheck()).toBe(false)
})

it.each([1, 2, 3, 4, 5, 6])('loses nothing to requests that fail at random, seed %i', async (seed) => {
  const random = createRandom(seed)
  let failing = false
  const image = await createImage({ cluster_size: 4096, table_size: 1, size: 4 * 2 ** 20 })
  const log = new WriteLog()
  const file = await openTestNode(writeLog, {
    options: { log },
    children: { file: faulty(image, () => failing && random.chance(0.1)) },
  })
  const clock = new TestClock()
  const node = await openTestNode(createQedDriver({ clock }), { children: { file } })
  const guest = new CrashGuest(node, log)
  failing = true
  let failures = 0
  for (let i = 0; i < 120; i++) {
    const batch: Promise<void>[] = []
    for (let lane = 0; lane < 3; lane++) {
      const offset = lane * 2 ** 20 + random.int(0, 128) * 4096 + random.int(0, 8) * 512
      const kind = random.int(0, 8)
      if (kind < 5) batch.push(guest.write(offset, 512 * random.int(1, 24)))
      else if (kind < 7) batch.push(guest.zero(offset - (offset % 4096), 4096, false))
      else batch.push(guest.flush())
    }
    if (random.chance(0.1)) clock.elapse()
    for (const { status } of await Promise.allSettled(batch)) if (status === 'rejected') failures++
  }
  failing = false
  expect(failures).toBeGreaterThan(20)
  expect(await guest.judge(node, log.now)).toBeUndefined()
  expect(await node.check()).toMatchObject({ corruptions: 0, checkErrors: 0 })
  await node.close()
  const again = await openTestNode(createQedDriver({ clock }), { children: { file: image } })
  expect(await guest.judge(again, log.now)).toBeUndefined()
  expect(await again.check()).toMatchObject({ corruptions: 0, checkErrors: 0 })
  expect((await again.info()).dirty).toBe(false)
})
