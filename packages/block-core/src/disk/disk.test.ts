/** The handle: what it counts, what it does about failures, and what stays when its root is another node. */
import { describe, expect, it } from 'vitest'
import { BlockError } from '../base/errors.ts'
import type { IoErrorEvent } from '../contract/node-events.ts'
import type { NodeOps } from '../contract/node-ops.ts'
import { openMemory } from '../drivers/memory.ts'
import { nodeOf } from '../testing/nodes.ts'
import { neverWaitForTurns } from '../testing/steady-loop.ts'
import type { ErrorPolicy } from './error-policy.ts'
import { DiskHandle } from './handle.ts'

neverWaitForTurns()

const SIZE = 65536
const turns = async (count = 50): Promise<void> => {
  for (let i = 0; i < count; i++) await Promise.resolve()
}

/** A handle on a disk in memory, whose requests fail as the test says. */
async function openDisk(more: Partial<NodeOps> = {}) {
  const memory = await openMemory(new Uint8Array(SIZE).fill(7))
  let failing: BlockError | undefined
  const asked: string[] = []
  const request = (kind: string, run: () => Promise<void>): Promise<void> => {
    asked.push(kind)
    return failing ? Promise.reject(failing) : run()
  }
  const ops: NodeOps = {
    size: () => memory.size,
    read: (offset, into) => request('read', () => memory.read(offset, into)),
    write: (offset, from) => request('write', () => memory.write(offset, from)),
    discard: (offset, bytes) => request('discard', () => memory.discard(offset, bytes)),
    flush: () => request('flush', () => memory.flush()),
    ...more,
  }
  const disk = new DiskHandle(nodeOf(ops))
  const events: IoErrorEvent[] = []
  disk.on('io-error', (event) => void events.push(event))
  return {
    disk,
    memory,
    asked,
    events,
    fail(code?: 'EIO' | 'ENOSPC') {
      failing = code && new BlockError(code, `planted ${code}`)
    },
  }
}

const bytes = (length: number, value = 1): Uint8Array => new Uint8Array(length).fill(value)

describe('the statistics of a handle', () => {
  it('count requests and bytes by kind; writes of zeroes are writes', async () => {
    const { disk } = await openDisk()
    await disk.write(0, bytes(512))
    await disk.writeZeroes(512, 1024)
    await disk.read(0, bytes(100))
    await disk.discard(4096, 4096)
    await disk.flush()
    await disk.flush()
    expect(disk.statistics).toEqual({
      read: { requests: 1, bytes: 100, failed: 0 },
      write: { requests: 2, bytes: 1536, failed: 0 },
      discard: { requests: 1, bytes: 4096, failed: 0 },
      flush: { requests: 2, bytes: 0, failed: 0 },
    })
  })

  it('count what failed in the node, and not what was wrong with the request', async () => {
    const { disk, fail, events } = await openDisk()
    fail('EIO')
    await expect(disk.read(0, bytes(512))).rejects.toThrow('planted EIO')
    await expect(disk.write(0, bytes(512))).rejects.toThrow('planted EIO')
    await expect(disk.flush()).rejects.toThrow('planted EIO')
    await expect(disk.read(SIZE, bytes(512))).rejects.toThrow('is outside')
    await expect(disk.read(0, 'text' as never)).rejects.toMatchObject({ code: 'EINVAL' })
    const { read, write, flush } = disk.statistics
    expect([read.failed, write.failed, flush.failed]).toEqual([1, 1, 1])
    expect(events.map(({ operation, action }) => `${operation} ${action}`)).toEqual([
      'read report',
      'write report',
      'flush report',
    ])
  })

  it('have a histogram of latencies for the kinds that are measured', async () => {
    const { disk } = await openDisk()
    await disk.read(0, bytes(512))
    await disk.measureLatency({ read: [1e9], write: [1e-9] })
    await disk.read(0, bytes(512))
    await disk.read(512, bytes(512))
    await disk.write(0, bytes(512))
    const { read, write, flush } = disk.statistics
    expect(read).toMatchObject({ requests: 3, latency: { boundaries: [1e9], counts: [2, 0] } })
    expect(write.latency?.counts).toEqual([0, 1])
    expect(write.latency!.total).toBeGreaterThan(0)
    expect(flush).not.toHaveProperty('latency')
    await disk.measureLatency({})
    expect(disk.statistics.read).not.toHaveProperty('latency')
  })

  it.each([
    [{ read: [] }, "Parameter 'read' expects ascending"],
    [{ read: [2, 1] }, "Parameter 'read' expects ascending"],
    [{ read: [0] }, "Parameter 'read' expects ascending"],
    [{ reads: [1] }, "Parameter 'boundaries' expects lists for read, write, discard, flush"],
    [undefined, "Parameter 'boundaries' expects lists for"],
  ])('refuse the boundaries %o', async (boundaries, message) => {
    const { disk } = await openDisk()
    await expect(disk.measureLatency(boundaries as never)).rejects.toThrow(message)
    await expect(disk.measureLatency(boundaries as never)).rejects.toMatchObject({ code: 'EINVAL' })
  })
})

describe('the error policy of a handle', () => {
  it('reports until it is told otherwise', async () => {
    const { disk } = await openDisk()
    expect(disk.errorPolicy).toEqual({ read: 'report', write: 'report' })
    await disk.setErrorPolicy({ write: 'enospc' })
    expect(disk.errorPolicy).toEqual({ read: 'report', write: 'enospc' })
  })

  it('ignores: the request succeeds, a read leaves the buffer as it is', async () => {
    const { disk, fail, events } = await openDisk()
    await disk.setErrorPolicy({ read: 'ignore', write: 'ignore' })
    fail('EIO')
    const into = bytes(512, 3)
    await disk.read(0, into)
    await disk.write(0, bytes(512))
    await disk.flush()
    expect(into).toEqual(bytes(512, 3))
    expect(events.map(({ action }) => action)).toEqual(['ignore', 'ignore', 'ignore'])
    await expect(disk.read(SIZE, into)).rejects.toThrow('is outside')
  })

  it('stops: requests wait, and are tried again once it is resumed', async () => {
    const { disk, memory, asked, fail } = await openDisk()
    const heard: string[] = []
    disk.on('stop', ({ operation, action }) => void heard.push(`stop ${operation} ${action}`))
    disk.on('resume', () => void heard.push('resume'))
    await disk.setErrorPolicy({ read: 'stop', write: 'stop' })
    fail('EIO')
    const done: string[] = []
    const write = disk.write(0, bytes(512, 9)).then(() => done.push('write'))
    await turns()
    expect([disk.isStopped, heard]).toEqual([true, ['stop write stop']])
    const read = disk.read(0, bytes(512)).then(() => done.push('read'))
    const flush = disk.flush().then(() => done.push('flush'))
    await turns()
    expect([asked, done]).toEqual([['write'], []])
    // It fails again: the handle stops again.
    disk.resume()
    await turns()
    expect(disk.isStopped).toBe(true)
    fail()
    disk.resume()
    await Promise.all([write, read, flush])
    expect(done.sort()).toEqual(['flush', 'read', 'write'])
    expect(disk.isStopped).toBe(false)
    const content = new Uint8Array(512)
    await memory.read(0, content)
    expect(content).toEqual(bytes(512, 9))
    expect(heard.filter((line) => line === 'resume')).toHaveLength(2)
    disk.resume()
    expect(heard.filter((line) => line === 'resume')).toHaveLength(2)
  })

  it('stops for want of space alone, and reports the rest', async () => {
    const { disk, fail } = await openDisk()
    await disk.setErrorPolicy({ write: 'enospc' })
    fail('EIO')
    await expect(disk.write(0, bytes(512))).rejects.toThrow('planted EIO')
    fail('ENOSPC')
    await expect(disk.read(0, bytes(512))).rejects.toThrow('planted ENOSPC')
    const write = disk.write(0, bytes(512))
    await turns()
    expect(disk.isStopped).toBe(true)
    fail()
    disk.resume()
    await write
  })

  it('that has stopped the handle does not keep it from being closed: what waits fails', async () => {
    const { disk, fail } = await openDisk()
    await disk.setErrorPolicy({ write: 'stop' })
    fail('EIO')
    const write = disk.write(0, bytes(512))
    const failed = expect(write).rejects.toMatchObject({ code: 'ENOMEDIUM' })
    await turns()
    expect(disk.isStopped).toBe(true)
    fail()
    await disk.close()
    await failed
    await expect(disk.read(0, bytes(512))).rejects.toMatchObject({ code: 'ENOMEDIUM' })
  })

  it.each([
    [{ read: 'enospc' }, "Parameter 'read' expects 'report', 'ignore', 'stop', not 'enospc'"],
    [{ write: 'retry' }, "Parameter 'write' expects 'report', 'ignore', 'stop', 'enospc', not 'retry'"],
    [{ flush: 'stop' }, "Parameter 'policy' expects { read, write }, not 'flush'"],
    ['stop', "Parameter 'policy' expects { read, write }, not 'stop'"],
  ])('refuses %o, and stays as it was', async (policy, message) => {
    const { disk } = await openDisk()
    await disk.setErrorPolicy({ write: 'stop' })
    await expect(disk.setErrorPolicy(policy as Partial<ErrorPolicy>)).rejects.toThrow(message)
    expect(disk.errorPolicy).toEqual({ read: 'report', write: 'stop' })
  })
})

describe('closing', () => {
  it('is heard once, and later requests are refused', async () => {
    const { disk } = await openDisk()
    let closes = 0
    disk.on('close', () => void closes++)
    await Promise.all([disk.close(), disk.close()])
    await disk.close()
    expect([closes, disk.isOpen]).toEqual([1, false])
    await expect(disk.flush()).rejects.toMatchObject({ code: 'ENOMEDIUM' })
  })

  it('of one of two handles leaves the node to the other', async () => {
    const node = nodeOf({ size: () => SIZE, read: async (_, into) => void into.fill(5) })
    const [one, other] = [new DiskHandle(node), new DiskHandle(node)]
    let closes = 0
    one.on('close', () => void closes++)
    await one.close()
    expect([closes, one.isOpen, node.isOpen, other.isOpen]).toEqual([1, false, true, true])
    await expect(one.read(0, bytes(1))).rejects.toMatchObject({ code: 'ENOMEDIUM' })
    const into = bytes(1)
    await other.read(0, into)
    expect(into).toEqual(bytes(1, 5))
    await other.close()
    expect(node.isOpen).toBe(false)
  })
})
