/** Resources are released after the last close, after failed openings, and when a worker is terminated. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { Worker } from 'node:worker_threads'
import { afterAll, describe, expect, it } from 'vitest'
import { DriverRegistry } from '../contract/registry.ts'
import { openNode } from '../open/open.ts'
import { file } from './file.ts'
import { nodeHost } from './file-resolver.ts'
import { systemCalls } from './koffi.ts'
import { openFile, ScratchFiles } from './scratch-files.ts'

const scratch = new ScratchFiles()
afterAll(() => scratch.remove())

/** Counts open descriptors of this process by their target. */
function descriptors(): Record<string, number> {
  const found: Record<string, number> = {}
  for (const fd of readdirSync('/proc/self/fd')) {
    try {
      const what = readlinkSync(`/proc/self/fd/${fd}`)
      found[what] = (found[what] ?? 0) + 1
    } catch {
      // The descriptor that listed the directory is closed by now.
    }
  }
  return found
}

const eventFds = (): number => descriptors()['anon_inode:[eventfd]'] ?? 0
/** The number of Linux AIO rings of this process. */
const rings = (): number => readFileSync('/proc/self/maps', 'latin1').split('/[aio]').length - 1

const isLinux = process.platform === 'linux'
const isDirect = isLinux && (await scratch.takesDirect())

describe.runIf(isDirect && systemCalls.aio !== undefined)('the queue of Linux AIO', () => {
  const block = new Uint8Array(4096)

  it('goes with the last file that is open with O_DIRECT, whatever is asked of it last', async () => {
    const before = [eventFds(), rings()]
    const open = () => openFile(scratch.newFile(new Uint8Array(65536)), { cache: { direct: true } })
    for (let round = 0; round < 20; round++) {
      const [a, b] = [await open(), await open()]
      expect([eventFds(), rings()]).toEqual([before[0]! + 1, before[1]! + 1])
      await Promise.all(Array.from({ length: 40 }, (_, i) => a.read((i % 16) * 4096, block)))
      await a.close()
      const reads = Array.from({ length: 40 }, (_, i) => b.read((i % 16) * 4096, block))
      const isCrash = round % 2 === 1
      await Promise.all([
        isCrash ? Promise.allSettled(reads) : Promise.all(reads),
        isCrash ? b.crash() : b.close(),
      ])
      expect([eventFds(), rings()]).toEqual(before)
    }
  })

  it('goes when the file is reopened without O_DIRECT', async () => {
    const { reopenNode } = await import('../open/reopen.ts')
    const before = [eventFds(), rings()]
    const node = await openFile(scratch.newFile(new Uint8Array(65536)), { cache: { direct: true } })
    await reopenNode(node, { cache: { direct: false } })
    expect([eventFds(), rings()]).toEqual(before)
    await reopenNode(node, { cache: { direct: true } })
    await node.close()
    expect([eventFds(), rings()]).toEqual(before)
  })
})

describe.runIf(isLinux)('failed openings', () => {
  it('leave no descriptor, no name and no identity', async () => {
    const environment = { registry: new DriverRegistry([file]), host: nodeHost() }
    const path = scratch.newFile(new Uint8Array(4096))
    const tries = [
      { driver: 'file', filename: `${path}-missing` },
      { driver: 'file', filename: scratch.directory },
      { driver: 'file', filename: path, nodeName: 'disk', nonsense: 1 },
      { driver: 'file', filename: path, nodeName: 'disk', aio: 'native' },
      { driver: 'file', filename: path, nodeName: 'disk', size: 'x' },
    ]
    const before = descriptors()
    for (let round = 0; round < 50; round++)
      for (const options of tries) await expect(openNode(environment, options as never)).rejects.toThrow()
    expect(descriptors()).toEqual(before)
    const writer = await openNode(environment, { driver: 'file', filename: path, nodeName: 'disk' })
    for (let round = 0; round < 50; round++)
      await expect(openNode(environment, { driver: 'file', filename: path })).rejects.toMatchObject({
        code: 'EBUSY',
      })
    await writer.close()
    expect(descriptors()).toEqual(before)
  })
})

/** Opens files without end, and closes none. */
const BUSY = `
  const { workerData } = require('node:worker_threads')
  const fs = require('node:fs')
  const turn = () => fs.open(workerData, 'r', (error, fd) => { if (error) throw error; fs.read(fd, Buffer.alloc(1), 0, 1, 0, turn) })
  for (let i = 0; i < 8; i++) turn()
`

describe.runIf(isLinux)('a worker that is terminated', () => {
  // The library relies on this: it opens descriptors only with fs.open.
  it('has its descriptors closed by Node, those that were just being opened too', async () => {
    const path = scratch.newFile('x')
    for (let round = 0; round < 8; round++) {
      const worker = new Worker(BUSY, { eval: true, workerData: path })
      await new Promise<void>((resolve) => worker.once('online', () => resolve()))
      while (!descriptors()[path]) await new Promise((resolve) => setImmediate(resolve))
      await worker.terminate()
      expect(descriptors()[path]).toBeUndefined()
    }
  })
})
