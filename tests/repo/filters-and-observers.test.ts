/** The filter and the observer that docs/filters-and-observers.md shows compile, and work. */
import * as blockCore from '@vmblock/block-core'
import { type AnyDriver, type BlockNode, memory, WriteLog, writeLog } from '@vmblock/block-core'
import * as driver from '@vmblock/block-core/driver'
import { createRandom, openTestNode, toBytes } from '@vmblock/block-core/testing'
import { expect, test, vi } from 'vitest'
import { examplesOf, problemsOf, runExample } from './src/guide.ts'

const [SOURCE = ''] = examplesOf('docs/filters-and-observers.md')

interface Example {
  readonly serial: AnyDriver
  copyLive(disk: BlockNode, target: BlockNode): Promise<void>
}

const { serial, copyLive } = runExample(SOURCE, {
  '@vmblock/block-core': blockCore,
  '@vmblock/block-core/driver': driver,
}) as unknown as Example

test('the filter of the guide hands requests on one at a time', async () => {
  const log = new WriteLog()
  const file = await openTestNode(memory, { options: { size: 65536 } })
  const recorded = await openTestNode(writeLog, { children: { file }, options: { log } })
  const node = await openTestNode(serial, { children: { file: recorded } })
  await Promise.all(Array.from({ length: 8 }, (_, index) => node.write(index * 512, new Uint8Array(512))))
  const times = log.entries.map(({ submitted, completed }) => [submitted, completed])
  expect(times).toEqual(Array.from({ length: 8 }, (_, index) => [2 * index, 2 * index + 1]))
})

test('the observer of the guide copies a disk that is being written', async () => {
  const random = createRandom(1)
  const size = 2 ** 20 + 1000
  const disk = await openTestNode(memory, { options: { size } })
  const target = await openTestNode(memory, { options: { size } })
  // The guest stops when the last pieces are about to be copied: afterwards nothing would follow it.
  let pauses = 0
  const withoutWrites = disk.withoutWrites.bind(disk)
  vi.spyOn(disk, 'withoutWrites').mockImplementation((body) => {
    pauses++
    return withoutWrites(body)
  })
  let writes = 0
  const guest = async (): Promise<void> => {
    for (; pauses < 2; writes++) {
      const data = random.bytes(random.int(1, 100_000))
      await disk.write(random.int(0, size - data.length), data)
    }
  }
  await Promise.all([guest(), guest(), guest(), copyLive(disk, target)])
  expect(writes).toBeGreaterThan(10)
  expect(Buffer.compare(await toBytes(target), await toBytes(disk))).toBe(0)
})

test('the examples of the guide compile under the rules of the repository', { timeout: 120_000 }, () => {
  expect(problemsOf({ 'docs/filters-and-observers.ts': SOURCE })).toEqual([])
})
