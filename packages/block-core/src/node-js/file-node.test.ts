import { readFileSync, renameSync, statSync, writeFileSync } from 'node:fs'
import { afterAll, describe, expect, it } from 'vitest'
import { BlockError } from '../base/errors.ts'
import type { NodeOps } from '../contract/node-ops.ts'
import { opsOf } from '../graph/node-internals.ts'
import { makeEngine } from './engines.ts'
import type { IoEngine } from './io-engine.ts'
import { descriptorsOf, openFile, ScratchFiles } from './scratch-files.ts'

const scratch = new ScratchFiles()
afterAll(() => scratch.remove())
const newFile = (content?: string | Uint8Array): string => scratch.newFile(content)
const takesDirect = await scratch.takesDirect()

/** An engine whose writes wait until they are released. */
function heldEngine(): { engine: IoEngine; release: () => void } {
  const real = makeEngine('threads')
  let release!: () => void
  const gate = new Promise<void>((resolve) => (release = resolve))
  const running = new Set<Promise<void>>()
  const engine: IoEngine = {
    pread: (fd, into, offset) => real.pread(fd, into, offset),
    pwrite(fd, from, offset) {
      const write = gate.then(() => real.pwrite(fd, from, offset))
      running.add(write)
      return write
    },
    fdatasync: (fd) => real.fdatasync(fd),
    call: (bytes, run) => real.call(bytes, run),
    async stop() {
      await Promise.allSettled(running)
      await real.stop()
    },
  }
  return { engine, release }
}

const failure = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => undefined,
    (error: unknown) => error,
  )

describe('size', () => {
  it('makes room for zeroes beyond the end without writing them', async () => {
    const path = newFile('abc')
    const node = await openFile(path, {}, { hostCalls: {} })
    await node.writeZeroes(3, 50_000_000, { noFallback: true })
    expect(node.size).toBe(50_000_003)
    expect(statSync(path).blocks * 512).toBeLessThan(1_000_000)
    await expect(node.writeZeroes(0, 10, { noFallback: true })).rejects.toMatchObject({ code: 'ENOTSUP' })
    expect(await node.blockStatus(0, 10)).toEqual({ bytes: 10, allocated: true, data: true, zero: false })
    expect((await node.blockStatus(50_000_003, 10)).bytes).toBe(0)
    await node.close()
  })

  it('does not cut off what a write beyond the end adds meanwhile', async () => {
    const path = newFile('')
    const { engine, release } = heldEngine()
    const node = await openFile(path, {}, { makeEngine: () => engine })
    const write = node.write(10_000, new Uint8Array(100).fill(7))
    const zeroes = node.writeZeroes(0, 5_000)
    expect(node.size).toBe(0)
    release()
    await Promise.all([write, zeroes])
    expect(node.size).toBe(10_100)
    const content = readFileSync(path)
    expect(content.length).toBe(10_100)
    expect(content.subarray(10_000).every((byte) => byte === 7)).toBe(true)
    expect(content.subarray(0, 10_000).every((byte) => byte === 0)).toBe(true)
    await node.close()
  })

  it('knows its size after a write that failed half way', async () => {
    const path = newFile('')
    const real = makeEngine('threads')
    const engine: IoEngine = {
      pread: (fd, into, offset) => real.pread(fd, into, offset),
      async pwrite(fd, from, offset) {
        await real.pwrite(fd, from.subarray(0, 100), offset)
        throw new BlockError('ENOSPC', 'full')
      },
      fdatasync: (fd) => real.fdatasync(fd),
      call: (bytes, run) => real.call(bytes, run),
      stop: () => real.stop(),
    }
    const node = await openFile(path, {}, { makeEngine: () => engine })
    await expect(node.write(0, new Uint8Array(1000))).rejects.toMatchObject({ code: 'ENOSPC' })
    expect(node.size).toBe(100)
    await node.close()
  })

  it('grows and shrinks, with preallocation as QEMU has it', async () => {
    const path = newFile('abc')
    const node = await openFile(path)
    for (const preallocation of ['full', 'falloc'] as const) {
      await node.truncate(node.size + 3_000_001, { preallocation })
      expect((await node.info()).actualSize).toBeGreaterThanOrEqual(node.size)
    }
    expect(statSync(path).size).toBe(6_000_005)
    await expect(node.truncate(10_000_000, { preallocation: 'metadata' })).rejects.toMatchObject({
      code: 'ENOTSUP',
      message: 'Unsupported preallocation mode: metadata',
    })
    await expect(node.truncate(1, { preallocation: 'full' })).rejects.toThrow(
      'Cannot use preallocation for shrinking files',
    )
    expect(node.size).toBe(6_000_005)
    await node.truncate(2)
    await node.close()
    expect(readFileSync(path, 'latin1')).toBe('ab')
  })

  it.runIf(takesDirect)('preallocates an odd length under O_DIRECT', async () => {
    const path = newFile('abc')
    const node = await openFile(path, { cache: { direct: true } })
    await node.truncate(1_000_001, { preallocation: 'full' })
    await node.close()
    const expected = Buffer.concat([Buffer.from('abc'), Buffer.alloc(999_998)])
    expect(Buffer.compare(readFileSync(path), expected)).toBe(0)
  })
})

describe('a write beyond the end that fails', () => {
  it('lets the resize go on that waits for it, once the size is known again', async () => {
    const { engine } = heldEngine()
    const full: IoEngine = {
      ...engine,
      async pwrite() {
        throw new BlockError('ENOSPC', 'full')
      },
    }
    const node = await openFile(newFile('abc'), {}, { makeEngine: () => full })
    const write = failure(opsOf(node).write!(10_000, new Uint8Array(100), {}))
    const resize = opsOf(node).truncate!(20_000, {})
    expect(await write).toMatchObject({ code: 'ENOSPC' })
    await resize
    expect(opsOf(node).size()).toBe(20_000)
    await node.close()
  })
})

describe('flush', () => {
  const failingOnce = (): { engine: IoEngine; calls: () => number } => {
    const real = makeEngine('threads')
    let calls = 0
    const engine: IoEngine = {
      pread: (fd, into, offset) => real.pread(fd, into, offset),
      pwrite: (fd, from, offset) => real.pwrite(fd, from, offset),
      async fdatasync(fd) {
        if (++calls === 1) throw new BlockError('EIO', 'lost')
        await real.fdatasync(fd)
      },
      call: (bytes, run) => real.call(bytes, run),
      stop: () => real.stop(),
    }
    return { engine, calls: () => calls }
  }

  it('fails for good once it failed: the host may have dropped the data', async () => {
    const { engine, calls } = failingOnce()
    const node = await openFile(newFile('x'), {}, { makeEngine: () => engine })
    await expect(opsOf(node).flush?.()).rejects.toMatchObject({ code: 'EIO' })
    await expect(opsOf(node).flush?.()).rejects.toMatchObject({ code: 'EIO' })
    expect(calls()).toBe(1)
    await node.close()
  })
})

describe('end of life', () => {
  it('a crash keeps the descriptor while a request uses it, then releases it', async () => {
    const path = newFile('abc')
    const { engine, release } = heldEngine()
    const node = await openFile(path, {}, { makeEngine: () => engine })
    const write = failure(node.write(0, new Uint8Array([88])))
    let released = false
    const crash = node.crash().then(() => (released = true))
    await failure(node.read(0, new Uint8Array(1)))
    expect(released).toBe(false)
    expect(descriptorsOf(path)).toBe(1)
    release()
    await crash
    expect(descriptorsOf(path)).toBe(0)
    expect(await write).toMatchObject({ code: 'ECANCELED' })
  })

  it.each(['sync', 'threads', 'adaptive'])('aio=%s: nothing reaches the file after a crash', async (aio) => {
    const path = newFile('abc')
    const node = await openFile(path, { aio })
    const ops = opsOf(node)
    await node.crash()
    const late: Promise<unknown>[] = [
      ops.write!(0, new Uint8Array(2), {}),
      ops.read(0, new Uint8Array(2)),
      ops.flush!(),
      ops.truncate!(1, {}),
      ops.writeZeroes!(3, 9, {}),
      ops.info!(),
    ]
    for (const request of late) await expect(request).rejects.toMatchObject({ code: 'ECANCELED' })
    expect(readFileSync(path, 'latin1')).toBe('abc')
  })
})

describe('reopen', () => {
  const request = (changes: object): Parameters<NonNullable<NodeOps['prepareReopen']>>[0] => ({
    readOnly: false,
    options: {},
    ...changes,
  })

  it('changes to another descriptor on commit, and back to nothing on abort', async () => {
    const path = newFile('abc')
    const node = await openFile(path, { readOnly: true })
    const ops = opsOf(node)
    await expect(ops.write!(0, new Uint8Array([88]), {})).rejects.toBeInstanceOf(BlockError)
    const dropped = await ops.prepareReopen!(request({}))
    expect(descriptorsOf(path)).toBe(2)
    await dropped.abort()
    expect(descriptorsOf(path)).toBe(1)
    const taken = await ops.prepareReopen!(request({}))
    await taken.commit()
    expect(descriptorsOf(path)).toBe(1)
    await ops.write!(0, new Uint8Array([88]), {})
    expect(readFileSync(path, 'latin1')).toBe('Xbc')
    await node.close()
    expect(descriptorsOf(path)).toBe(0)
  })

  it.runIf(takesDirect)('turns O_DIRECT on and off', async () => {
    const node = await openFile(newFile('abc'))
    expect(opsOf(node).limits?.requestAlignment).toBe(1)
    await (await opsOf(node).prepareReopen!(request({ direct: true }))).commit()
    expect(opsOf(node).limits?.requestAlignment).toBeGreaterThan(1)
    const into = new Uint8Array(4096)
    await opsOf(node).read(0, into)
    expect([...into.subarray(0, 4)]).toEqual([97, 98, 99, 0])
    await (await opsOf(node).prepareReopen!(request({ direct: false }))).commit()
    expect(opsOf(node).limits?.requestAlignment).toBe(1)
    await node.close()
  })

  it('refuses another file under the same name, and options that cannot change', async () => {
    const path = newFile('abc')
    const node = await openFile(path)
    await expect(opsOf(node).prepareReopen!(request({ options: { aio: 'sync' } }))).rejects.toThrow(
      `Cannot change the option 'aio'`,
    )
    renameSync(path, `${path}.old`)
    writeFileSync(path, 'other')
    await expect(opsOf(node).prepareReopen!(request({}))).rejects.toMatchObject({ code: 'EBUSY' })
    expect(descriptorsOf(path)).toBe(0)
    await node.close()
  })
})
