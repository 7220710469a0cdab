import { describe, expect, it } from 'vitest'
import type { BlockNode } from '../contract/node.ts'
import { driverContract } from '../testing/driver-contract.ts'
import { nodeOf, openTestNode } from '../testing/nodes.ts'
import { memory } from './memory.ts'
import { WriteLog, writeLog, writeLogOf } from './write-log.ts'

driverContract(
  'write-log',
  async ({ size, ...config }) => {
    const file = await openTestNode(memory, { options: { size }, config })
    return openTestNode(writeLog, { children: { file }, config, options: { recordData: false } })
  },
  { discard: 'zeroes', truncate: 'grow-and-shrink', unalignedSizes: true, knowsZeroes: true, seeds: [4] },
)

const over = async (options = {}): Promise<[BlockNode, WriteLog]> => {
  const file = await openTestNode(memory, { options: { size: 2 ** 20 } })
  const node = await openTestNode(writeLog, { children: { file }, options })
  return [node, writeLogOf(node)]
}

describe('a write log', () => {
  it('records each kind of change, and no reads', async () => {
    const [node, log] = await over()
    const data = Uint8Array.of(1, 2, 3)
    await node.write(5, data)
    data.fill(9)
    await node.read(5, new Uint8Array(3))
    await node.writeZeroes(100, 50, { mayUnmap: true })
    await node.discard(4096, 4096)
    await node.truncate(8192)
    await node.flush()
    expect(log.entries).toEqual([
      {
        kind: 'write',
        offset: 5,
        bytes: 3,
        data: Uint8Array.of(1, 2, 3),
        fua: false,
        disk: '',
        submitted: 0,
        completed: 1,
        failed: false,
      },
      {
        kind: 'write-zeroes',
        offset: 100,
        bytes: 50,
        fua: false,
        mayUnmap: true,
        disk: '',
        submitted: 2,
        completed: 3,
        failed: false,
      },
      { kind: 'discard', offset: 4096, bytes: 4096, disk: '', submitted: 4, completed: 5, failed: false },
      {
        kind: 'truncate',
        offset: 0,
        bytes: 0,
        size: 8192,
        disk: '',
        submitted: 6,
        completed: 7,
        failed: false,
      },
      { kind: 'flush', offset: 0, bytes: 0, disk: '', submitted: 8, completed: 9, failed: false },
    ])
    expect(log.count()).toEqual({ writes: 1, bytes: 3, zeroWrites: 1, discards: 1, truncates: 1, flushes: 1 })
    expect(log.count((entry) => entry.kind === 'write' && entry.offset > 5).writes).toBe(0)
    log.clear()
    expect(log.entries).toEqual([])
  })

  it('records into an object that is given, with or without data', async () => {
    const mine = new WriteLog({ recordData: false })
    const [node, log] = await over({ log: mine })
    expect(log).toBe(mine)
    await node.write(0, Uint8Array.of(1))
    expect(mine.entries).toMatchObject([{ kind: 'write', bytes: 1, data: undefined }])
    const [other, own] = await over({ 'record-data': 'off' })
    await other.write(0, Uint8Array.of(1))
    expect(own.entries).toMatchObject([{ data: undefined }])
  })

  it('tells when a request went down from when it came back', async () => {
    const release: Record<number, () => void> = {}
    let failFlush: (error: Error) => void = () => {}
    const file = nodeOf({
      size: () => 100,
      read: async () => {},
      write: (offset) => new Promise((resolve) => (release[offset] = resolve)),
      flush: () => new Promise((_, reject) => (failFlush = reject)),
    })
    const node = await openTestNode(writeLog, { children: { file } })
    const log = writeLogOf(node)
    const first = node.write(1, Uint8Array.of(1))
    const second = node.write(2, Uint8Array.of(2))
    const third = node.write(3, Uint8Array.of(3))
    release[2]!()
    await second
    const flush = node.flush()
    release[1]!()
    await first
    expect(log.count().flushes).toBe(0)
    failFlush(new Error('disk is gone'))
    await expect(flush).rejects.toThrow('disk is gone')
    expect(log.entries).toMatchObject([
      { offset: 1, submitted: 0, completed: 5 },
      { offset: 2, submitted: 1, completed: 3 },
      { offset: 3, submitted: 2, completed: undefined, failed: false },
      { kind: 'flush', submitted: 4, completed: undefined, failed: true },
    ])
    expect(log.completed().map((entry) => entry.offset)).toEqual([2, 1])
    expect(log.count()).toMatchObject({ writes: 2, flushes: 0 })
    release[3]!()
    await third
  })

  it('tells disks that share a clock apart', async () => {
    const log = new WriteLog()
    const [first] = await over({ log, disk: 'first' })
    const [second] = await over({ log, disk: 'second' })
    await second.write(0, Uint8Array.of(1))
    expect(log.tick()).toBe(2)
    await first.flush()
    await second.flush()
    await first.write(0, Uint8Array.of(1))
    expect(log.entries).toMatchObject([
      { kind: 'write', disk: 'second', submitted: 0, completed: 1 },
      { kind: 'flush', disk: 'second', submitted: 3, completed: 4 },
      { kind: 'write', disk: 'first', submitted: 5, completed: 6 },
    ])
  })

  it('refuses a log that is none, and knows its own nodes', async () => {
    await expect(over({ log: [] })).rejects.toThrow("Parameter 'log' expects a WriteLog")
    expect(() => writeLogOf(nodeOf({ size: () => 0, read: async () => {} }))).toThrow('is no write-log')
  })
})
