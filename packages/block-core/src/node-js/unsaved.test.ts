/** A process that ends with open files names them once, and only if the warning is on. */
import { afterAll, afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { denyHost } from '../contract/image-resolver.ts'
import type { BlockNode } from '../contract/node.ts'
import { DriverRegistry } from '../contract/registry.ts'
import { openNode } from '../open/open.ts'
import { reopenNode } from '../open/reopen.ts'
import { file, fileDriver } from './file.ts'
import { ScratchFiles } from './scratch-files.ts'

const said = vi.hoisted(() => [] as string[])
vi.mock('node:fs', async (original) => {
  const real = await original<typeof import('node:fs')>()
  const writeSync = (fd: number, ...rest: [never]): number =>
    fd === 2 ? said.push(String(rest[0])) : real.writeSync(fd, ...rest)
  return { ...real, writeSync }
})

const scratch = new ScratchFiles()
afterAll(() => scratch.remove())
let atExit: readonly (() => void)[] = []
const on = vi.spyOn(process, 'on')
const open = async (driver = file, readOnly = false): Promise<BlockNode> => {
  const node = await openNode(
    { registry: new DriverRegistry([driver]), host: denyHost },
    { driver: 'file', filename: scratch.newFile('0123456789'), locking: 'off', readOnly },
  )
  const mine = on.mock.calls.filter(([event]) => event === 'exit').map(([, run]) => run as () => void)
  atExit = mine.length > 0 ? mine : atExit
  return node
}
/** The warnings that the process would print if it ended now. */
const ending = (): string[] => {
  for (const run of atExit) run()
  return said.splice(0)
}

const env = process.env['NODE_ENV']
beforeEach(async () => {
  // The exit listener is added with the first file.
  await (await open()).close()
})
afterEach(() => {
  ending()
  process.env['NODE_ENV'] = env
})

describe('a process that ends', () => {
  test('says which files were written and not flushed, once each', async () => {
    const node = await open()
    await node.write(0, Uint8Array.of(1))
    expect(ending()).toEqual([
      expect.stringMatching(/^vmblock: warning: '.*' was written and not flushed or closed/),
    ])
    expect(ending()).toEqual([])
    await node.close()
  })

  test('says less of what was flushed, and not closed', async () => {
    const node = await open()
    await node.write(0, Uint8Array.of(1))
    await node.flush()
    expect(ending()).toEqual([expect.stringMatching(/was open for writing and not closed/)])
    await node.close()
  })

  test('says nothing of what was closed, crashed, or only read', async () => {
    const nodes = [await open(), await open(), await open(), await open(file, true)]
    await nodes[0]!.write(0, Uint8Array.of(1))
    await nodes[0]!.close()
    await nodes[1]!.write(0, Uint8Array.of(1))
    await nodes[1]!.crash()
    await reopenNode(nodes[2]!, { readOnly: true })
    expect(ending()).toEqual([])
    for (const node of nodes.slice(2)) await node.close()
  })

  test('says nothing in production, nor where the program does not want it', async () => {
    const quiet = await open(fileDriver({ warnAtExit: false }))
    process.env['NODE_ENV'] = 'production'
    const node = await open()
    await Promise.all([node.write(0, Uint8Array.of(1)), quiet.write(0, Uint8Array.of(1))])
    expect(ending()).toEqual([])
    await Promise.all([node.close(), quiet.close()])
  })
})
