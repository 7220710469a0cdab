/** The jobs that docs/jobs.md shows compile, and work. */
import * as blockCore from '@vmblock/block-core'
import {
  type AnyDriver,
  type BlockNode,
  DriverRegistry,
  denyHost,
  formatImage,
  Job,
  type JobControl,
  memory,
  openMemory,
  openNode,
} from '@vmblock/block-core'
import * as driver from '@vmblock/block-core/driver'
import { qcow2 } from '@vmblock/qcow2'
import { expect, test } from 'vitest'
import { examplesOf, problemsOf, runExample } from './src/guide.ts'

const [SOURCE = ''] = examplesOf('docs/jobs.md')

interface Example {
  startCommit(top: BlockNode, show: (part: number) => void, signal?: AbortSignal): Job<void>
  firstDifference(a: BlockNode, b: BlockNode, control?: JobControl): Promise<number | undefined>
}

const { startCommit, firstDifference } = runExample(SOURCE, {
  '@vmblock/block-core': blockCore,
  '@vmblock/block-core/driver': driver,
}) as unknown as Example

const SIZE = 4 * 2 ** 20

async function overlay(): Promise<BlockNode> {
  const environment = { registry: new DriverRegistry([memory, qcow2 as AnyDriver]), host: denyHost }
  const base = openMemory(new Uint8Array(SIZE))
  const file = await openNode(environment, { driver: 'memory' })
  await formatImage(qcow2, file, { size: SIZE })
  const top = await openNode(environment, { driver: 'qcow2', file, backing: base })
  await top.write(2 ** 20, new Uint8Array(2 ** 21).fill(7))
  return top
}

test('the commit of the guide shows how far it is, and can be cancelled by a signal', async () => {
  const top = await overlay()
  const abort = new AbortController()
  const stop = (part: number): void => {
    if (part > 0) abort.abort('enough')
  }
  await expect(startCommit(top, stop, abort.signal).done).rejects.toBe('enough')
  const parts: number[] = []
  const job = startCommit(top, (part) => parts.push(part))
  await job.pause()
  expect(job.progress.done).toBe(0)
  job.resume()
  await job.done
  expect([parts[0], parts.at(-1)]).toEqual([0, 1])
  const byte = new Uint8Array(1)
  await top.backing?.node.read(2 ** 21, byte)
  expect([...byte]).toEqual([7])
})

test('the operation of the guide finds a difference, as a job or alone', async () => {
  const bytes = new Uint8Array(300_000)
  const [a, b] = [openMemory(bytes), openMemory(bytes.slice())]
  const told: number[] = []
  const onProgress = (done: number, total: number): unknown => told.push(done / total)
  const compare = (): Job<number | undefined> =>
    new Job((control) => firstDifference(a, b, control), { onProgress })
  expect(await compare().done).toBeUndefined()
  expect([told[0], told.at(-1)]).toEqual([0, 1])
  await b.write(200_000, Uint8Array.of(1))
  expect(await firstDifference(a, b)).toBe(200_000)
  const job = compare()
  await job.pause()
  await job.cancel()
  await expect(job.done).rejects.toMatchObject({ code: 'ECANCELED' })
})

test('the examples of the guide compile under the rules of the repository', { timeout: 120_000 }, () => {
  expect(problemsOf({ 'docs/jobs.ts': SOURCE })).toEqual([])
})
