/** The drivers of a page's own storage fulfill the driver contract, in a real browser. */
import { beforeAll, describe, expect, test } from 'vitest'
import { quota } from '../../../../tests/support/origin-storage.ts'
import type { BlockDriver } from '../contract/driver.ts'
import type { BlockNode } from '../contract/node.ts'
import type { NodeWish } from '../testing/contract-kit.ts'
import { pattern, readBack } from '../testing/contract-kit.ts'
import { driverContract } from '../testing/driver-contract.ts'
import { openTestNode, toBytes } from '../testing/nodes.ts'
import { indexedDb } from './indexeddb.ts'
import { opfs } from './opfs.ts'

// biome-ignore lint/suspicious/noExplicitAny: two drivers with different options
const DRIVERS: readonly BlockDriver<any, any>[] = [indexedDb, opfs]

let count = 0
const freshName = (): string => `disk-${count++}`

// Chromium checks only now and then how much room is left for a database: the quota must be small from the
// start.
beforeAll(() => quota(24 * 2 ** 20))

const fileOptions = (filename: string) => ({ filename, lockTimeout: 2000, worker: undefined })

describe.each(DRIVERS)('$name', (driver) => {
  test('stops at the quota, loses nothing, and goes on when there is room', async () => {
    const name = freshName()
    await driver.createFile!(fileOptions(name), 0, 'off')
    const node = await openTestNode(driver, { options: { filename: name } })
    await node.write(0, pattern(100_000, 1))
    await node.flush()
    await quota(1)
    let written = 100_000
    let failure: unknown
    try {
      // Writes that a driver gathers in memory reach the quota only when they are flushed.
      for (; written < 40 * 2 ** 20; written += 2 ** 20) {
        await node.write(written, pattern(2 ** 20, 2))
        await node.flush()
      }
    } catch (error) {
      failure = error
    } finally {
      await quota()
    }
    expect(failure).toMatchObject({ code: 'ENOSPC' })
    await node.write(written, pattern(2 ** 20, 2))
    await node.flush()
    await node.close()
    const again = await openTestNode(driver, { options: { filename: name } })
    expect(await readBack(again, 0, 100_000)).toEqual(pattern(100_000, 1))
    expect(await readBack(again, written, 2 ** 20)).toEqual(pattern(2 ** 20, 2))
    expect(again.size).toBe(written + 2 ** 20)
    await again.close()
  })
})

for (const driver of DRIVERS) {
  const names = new WeakMap<BlockNode, [string, NodeWish | undefined]>()
  const open = async (filename: string, wish?: NodeWish): Promise<BlockNode> => {
    const { size: _, ...config } = wish ?? { size: 0 }
    const node = await openTestNode(driver, { options: { filename }, config })
    names.set(node, [filename, wish])
    return node
  }
  const make = async (size: number): Promise<string> => {
    const name = freshName()
    await driver.createFile!(fileOptions(name), size, 'off')
    return name
  }

  driverContract(driver.name, async (wish) => open(await make(wish.size), wish), {
    truncate: 'grow-and-shrink',
    unalignedSizes: true,
    reopen: (node) => open(names.get(node)![0]),
    seeds: [1],
  })

  describe(driver.name, () => {
    const config = { readOnly: false }

    test('opens nothing that is not there, and makes nothing by looking', async () => {
      for (let i = 0; i < 2; i++)
        await expect(openTestNode(driver, { options: { filename: 'nowhere' } })).rejects.toMatchObject({
          code: 'ENOENT',
        })
    })

    test('is one writer’s at a time, or many readers’', async () => {
      const name = await make(65536)
      const late = { options: { filename: name, lockTimeout: 100 } }
      const writer = await open(name)
      await expect(openTestNode(driver, late)).rejects.toMatchObject({
        code: 'EBUSY',
        message: expect.stringContaining('open elsewhere'),
      })
      await writer.close()
      const readers = [1, 2].map(() => openTestNode(driver, { ...late, config: { readOnly: true } }))
      for (const reader of await Promise.all(readers)) await reader.close()
      await (await openTestNode(driver, { ...late, config })).close()
    })

    test('is not held by a node that crashed', async () => {
      const name = await make(65536)
      const node = await open(name)
      const lost = node.write(0, pattern(1000)).catch((error: { code: string }) => error.code)
      await node.crash()
      expect(await lost).toBe('ECANCELED')
      const again = await openTestNode(driver, { options: { filename: name, lockTimeout: 1000 } })
      await again.close()
    })

    test('says what is wrong with a name', async () => {
      await expect(openTestNode(driver, {})).rejects.toMatchObject({ code: 'EINVAL' })
    })

    test('what was flushed is there after a crash, and of what was not nothing is torn out of it', async () => {
      const name = await make(2 ** 20)
      const node = await open(name)
      await node.write(0, pattern(300_000, 1))
      await node.flush()
      await node.write(100_000, pattern(100_000, 2))
      await node.crash()
      const again = await open(name)
      const content = await toBytes(again)
      expect(content.subarray(0, 100_000)).toEqual(pattern(300_000, 1).subarray(0, 100_000))
      expect(content.subarray(200_000, 300_000)).toEqual(pattern(300_000, 1).subarray(200_000))
      await again.close()
    })
  })
}

test('opfs takes paths of directories, and none that lead out', async () => {
  await opfs.createFile!(fileOptions('a/b/c'), 10, 'off')
  const node = await openTestNode(opfs, { options: { filename: 'a/b/c' } })
  expect(node.size).toBe(10)
  await node.close()
  for (const filename of ['', '/', '..', 'a/../b', 'a/b'])
    await expect(openTestNode(opfs, { options: { filename } })).rejects.toMatchObject({
      code: filename === 'a/b' ? 'EISDIR' : 'EINVAL',
    })
})
