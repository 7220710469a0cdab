import { describe, expect, it, vi } from 'vitest'
import { BlockError } from '../base/errors.ts'
import type { BlockNode } from '../contract/node.ts'
import type { CoreConfig } from '../contract/node-config.ts'
import type { NodeOps } from '../contract/node-ops.ts'
import type { BlockLimits, WriteFlag, WriteFlags } from '../contract/requests.ts'
import { DiskHandle } from '../disk/handle.ts'
import { nodeOf, toBytes } from '../testing/nodes.ts'
import { createRandom } from '../testing/random.ts'

const turns = async (count = 5): Promise<void> => {
  for (let i = 0; i < count; i++) await Promise.resolve()
}

/** A slow disk that enforces its limits, and records its requests. */
function slowDisk(size: number, limits: Partial<BlockLimits> = {}, more: Partial<NodeOps> = {}) {
  const content = createRandom(size).bytes(size)
  const asked: [operation: string, offset: number, bytes: number, flags?: WriteFlags][] = []
  const { requestAlignment = 1, maxTransfer = Number.POSITIVE_INFINITY } = limits
  const check = (offset: number, bytes: number): void => {
    const end = offset + bytes
    if (bytes === 0 || bytes > maxTransfer) throw new Error(`length ${bytes}`)
    if (offset % requestAlignment !== 0 || (end % requestAlignment !== 0 && end !== size))
      throw new Error(`unaligned [${offset}, +${bytes})`)
  }
  const ops: NodeOps = {
    limits,
    size: () => size,
    async read(offset, into) {
      check(offset, into.length)
      asked.push(['read', offset, into.length])
      await turns()
      into.set(content.subarray(offset, offset + into.length))
    },
    async write(offset, from, flags) {
      check(offset, from.length)
      asked.push(['write', offset, from.length, flags])
      await turns()
      content.set(from, offset)
    },
    async flush() {
      asked.push(['flush', 0, 0])
      await turns()
    },
    ...more,
  }
  const operations = (): string[] => asked.map(([operation]) => operation)
  return { ops, content, asked, operations }
}

const flags = (...names: WriteFlag[]): ReadonlySet<WriteFlag> => new Set(names)

describe('requests that do not fit the alignment', () => {
  it('are one step each when they rewrite the same block', async () => {
    const { ops, content } = slowDisk(4096, { requestAlignment: 4096 })
    const node = nodeOf(ops)
    const expected = content.slice()
    const writes: Promise<void>[] = []
    for (let at = 0; at < 4096; at += 100) {
      const data = createRandom(at + 1).bytes(Math.min(100, 4096 - at))
      expected.set(data, at)
      writes.push(node.write(at, data))
    }
    await Promise.all(writes)
    expect(Buffer.compare(content, expected)).toBe(0)
  })

  it('do not overwrite an aligned write beside them with what was there before', async () => {
    const { ops, content } = slowDisk(2048, { requestAlignment: 512 })
    const node = nodeOf(ops)
    const expected = content.slice()
    expected.set(new Uint8Array(100).fill(1), 500)
    expected.set(new Uint8Array(512).fill(2), 512)
    await Promise.all([
      node.write(500, new Uint8Array(100).fill(1)),
      node.write(512, new Uint8Array(512).fill(2)),
    ])
    expect(Buffer.compare(content, expected)).toBe(0)
  })

  it('hold back reads of their blocks, but of no others', async () => {
    const { ops } = slowDisk(8192, { requestAlignment: 4096 })
    const node = nodeOf(ops)
    const done: string[] = []
    const into = new Uint8Array(2)
    await Promise.all([
      node.write(1, Uint8Array.of(1)).then(() => done.push('write')),
      node.read(0, into).then(() => done.push('same block')),
      node.read(4096, new Uint8Array(2)).then(() => done.push('other block')),
    ])
    expect(done).toEqual(['other block', 'write', 'same block'])
    expect(into[1]).toBe(1)
  })

  it('are rounded to blocks, except at the end of a disk that ends within one', async () => {
    const { ops, asked } = slowDisk(1000, { requestAlignment: 512 })
    const node = nodeOf(ops)
    await node.read(10, new Uint8Array(10))
    await node.read(600, new Uint8Array(400))
    await node.write(512, new Uint8Array(488))
    await node.write(999, new Uint8Array(1))
    expect(asked.map(([operation, offset, bytes]) => [operation, offset, bytes])).toEqual([
      ['read', 0, 512],
      ['read', 512, 488],
      ['write', 512, 488],
      ['read', 512, 488],
      ['write', 512, 488],
    ])
  })

  it('never reach the driver unaligned or too long, whatever is asked', async () => {
    const size = 20_000
    const limits = {
      requestAlignment: 512,
      maxTransfer: 2048,
      writeZeroesAlignment: 1024,
      maxWriteZeroes: 4096,
    }
    const zero = vi.fn(async (offset: number, bytes: number) => {
      if (offset % 1024 !== 0 || bytes % 1024 !== 0) throw new BlockError('ENOTSUP', 'no')
      expect(bytes).toBeLessThanOrEqual(4096)
      content.fill(0, offset, offset + bytes)
    })
    const { ops, content } = slowDisk(size, limits, { writeZeroes: zero })
    const node = nodeOf(ops)
    const expected = content.slice()
    const random = createRandom(11)
    for (let i = 0; i < 300; i++) {
      const offset = random.int(0, size)
      const data = random.bytes(random.int(0, Math.min(size - offset, 6000) + 1))
      if (random.chance(0.3)) data.fill(0)
      if (data[0] === 0 && random.chance(0.5)) await node.writeZeroes(offset, data.length)
      else await node.write(offset, data)
      expected.set(data, offset)
    }
    expect(Buffer.compare(await toBytes(node), expected)).toBe(0)
    expect(zero).toHaveBeenCalled()
  })

  it('grow a growable disk by whole blocks', async () => {
    const written: [number, number][] = []
    const node = nodeOf({
      limits: { requestAlignment: 512 },
      growable: true,
      size: () => 0,
      read: async (_, into) => void into.fill(0),
      write: async (offset, from) => void written.push([offset, from.length]),
    })
    await node.write(600, new Uint8Array(10))
    expect(written).toEqual([[512, 512]])
  })
})

describe('long requests', () => {
  it('are split, into aligned pieces also where the limit is odd', async () => {
    const { ops, asked } = slowDisk(65536, { requestAlignment: 512, maxTransfer: 5000 })
    const node = nodeOf(ops)
    expect(node.limits.maxTransfer).toBe(4608)
    await node.write(512, createRandom(3).bytes(10_240))
    await node.read(0, new Uint8Array(4609))
    expect(asked.map(([operation, offset, bytes]) => [operation, offset, bytes])).toEqual([
      ['write', 512, 4608],
      ['write', 5120, 4608],
      ['write', 9728, 1024],
      ['read', 0, 4608],
      ['read', 4608, 512],
    ])
  })
})

describe('durability', () => {
  const through = (ops: NodeOps, config: Partial<CoreConfig> = {}) =>
    new DiskHandle(nodeOf(ops, { config }), false)

  it('of a FUA write comes from the driver where it knows FUA', async () => {
    const { ops, asked } = slowDisk(1024, {}, { writeFlags: flags('fua') })
    await nodeOf(ops).write(0, Uint8Array.of(1), { fua: true })
    expect(asked).toEqual([['write', 0, 1, { fua: true }]])
  })

  it('of a FUA write comes from a flush where it does not', async () => {
    const { ops, asked } = slowDisk(1024)
    await nodeOf(ops).write(0, Uint8Array.of(1), { fua: true })
    expect(asked).toEqual([
      ['write', 0, 1, {}],
      ['flush', 0, 0],
    ])
  })

  it('of every write is asked for through a handle without a write cache', async () => {
    const plain = slowDisk(1024)
    await through(plain.ops).write(0, Uint8Array.of(1))
    expect(plain.operations()).toEqual(['write', 'flush'])
    const knowing = slowDisk(1024, {}, { writeFlags: flags('fua') })
    await through(knowing.ops).write(0, Uint8Array.of(1))
    expect(knowing.asked).toEqual([['write', 0, 1, { fua: true }]])
  })

  it('of concurrent write-through writes shares flushes', async () => {
    const { ops, operations } = slowDisk(1024)
    const node = through(ops)
    await Promise.all([0, 1, 2, 3, 4, 5].map((at) => node.write(at, Uint8Array.of(1))))
    expect(operations().filter((operation) => operation === 'flush').length).toBeLessThanOrEqual(2)
  })

  it('of zeroes that had to be written as data does not rest on the FUA of zero writes', async () => {
    const { ops, operations } = slowDisk(
      1024,
      {},
      {
        zeroFlags: flags('fua'),
        writeZeroes: () => Promise.reject(new BlockError('ENOTSUP', 'not today')),
      },
    )
    await nodeOf(ops).writeZeroes(0, 100, { fua: true })
    expect(operations()).toEqual(['write', 'flush'])
  })

  it('of detected zeroes does not rest on the FUA of writes', async () => {
    const writeZeroes = vi.fn(async () => {})
    const { ops, operations } = slowDisk(1024, {}, { writeFlags: flags('fua'), writeZeroes })
    await through(ops, { detectZeroes: 'on' }).write(0, new Uint8Array(100))
    expect(writeZeroes).toHaveBeenCalledTimes(1)
    expect(operations()).toEqual(['flush'])
  })

  it('is not cared for with no-flush on a protocol, but on a format above it', async () => {
    const config = { noFlush: true }
    const disk = slowDisk(1024)
    const node = nodeOf(disk.ops, { config })
    await node.write(0, Uint8Array.of(1))
    await node.flush()
    expect(disk.operations()).toEqual(['write'])
    const image = slowDisk(1024)
    const format = nodeOf(image.ops, { config }, 'format')
    await format.write(0, Uint8Array.of(1))
    await format.flush()
    expect(image.operations()).toEqual(['write', 'flush'])
  })

  it('is exact about what makes a flush needed', async () => {
    const { ops, operations } = slowDisk(65536, {}, { discard: async () => {}, truncate: async () => {} })
    const node = nodeOf(ops)
    const flushes = async (change: () => Promise<unknown>): Promise<number> => {
      const before = operations().filter((operation) => operation === 'flush').length
      await change().catch(() => undefined)
      await Promise.all([node.flush(), node.flush()])
      await node.flush()
      return operations().filter((operation) => operation === 'flush').length - before
    }
    expect(await flushes(() => node.read(0, new Uint8Array(1)))).toBe(0)
    expect(await flushes(() => node.write(0, new Uint8Array(0)))).toBe(0)
    expect(await flushes(() => node.write(65_536, new Uint8Array(1)))).toBe(0)
    expect(await flushes(() => node.write(0, new Uint8Array(1)))).toBe(1)
    expect(await flushes(() => node.writeZeroes(0, 1))).toBe(1)
    expect(await flushes(() => node.discard(0, 1))).toBe(1)
    expect(await flushes(() => node.truncate(1))).toBe(1)
  })

  it('of a write that failed is unknown, so the next flush goes down', async () => {
    const { ops, operations } = slowDisk(
      16,
      {},
      { write: () => Promise.reject(new BlockError('ENOSPC', 'full')) },
    )
    const node = nodeOf(ops)
    await expect(node.write(0, Uint8Array.of(1))).rejects.toMatchObject({ code: 'ENOSPC' })
    await node.flush()
    expect(operations()).toEqual(['flush'])
  })
})

describe('zero writes', () => {
  const zeroing = (zeroFlags: ReadonlySet<WriteFlag>, config: Partial<CoreConfig>) => {
    const writeZeroes = vi.fn(async (_offset: number, _bytes: number, _flags: WriteFlags) => {})
    const { ops } = slowDisk(65536, {}, { writeZeroes, zeroFlags })
    return {
      node: nodeOf(ops, { config }),
      seen: () => writeZeroes.mock.calls.map(([, , given]) => given.mayUnmap ?? false),
    }
  }

  it('may unmap if the user says so, the node allows it and the driver knows how', async () => {
    const all = zeroing(flags('mayUnmap'), { unmap: true })
    await all.node.writeZeroes(0, 1, { mayUnmap: true })
    await all.node.writeZeroes(0, 1)
    expect(all.seen()).toEqual([true, false])
    const forbidden = zeroing(flags('mayUnmap'), { unmap: false })
    await forbidden.node.writeZeroes(0, 1, { mayUnmap: true })
    const unable = zeroing(flags(), { unmap: true })
    await unable.node.writeZeroes(0, 1, { mayUnmap: true })
    expect([...forbidden.seen(), ...unable.seen()]).toEqual([false, false])
  })

  it('replace written zeroes with detect-zeroes, unmapping with "unmap"', async () => {
    const on = zeroing(flags('mayUnmap'), { unmap: true, detectZeroes: 'on' })
    await on.node.write(5, new Uint8Array(100))
    await on.node.write(5, Uint8Array.of(0, 1))
    const unmap = zeroing(flags('mayUnmap'), { unmap: true, detectZeroes: 'unmap' })
    await unmap.node.write(5, new Uint8Array(100))
    expect([on.seen(), unmap.seen()]).toEqual([[false], [true]])
  })
})

describe('discards', () => {
  const discarding = (config: Partial<CoreConfig>, limits: Partial<BlockLimits> = {}) => {
    const discard = vi.fn(async () => {})
    const { ops } = slowDisk(65536, limits, { discard })
    return { node: nodeOf(ops, { config }), discard }
  }

  it('reach the driver only where the node allows it', async () => {
    const off = discarding({ unmap: false })
    await off.node.discard(0, 4096)
    expect(off.discard).not.toHaveBeenCalled()
    const on = discarding({ unmap: true })
    await on.node.discard(0, 4096)
    expect(on.discard).toHaveBeenCalledWith(0, 4096)
  })

  it('keep to whole blocks', async () => {
    const { node, discard } = discarding({ unmap: true }, { requestAlignment: 512, discardAlignment: 4096 })
    await node.discard(1, 600)
    expect(discard).not.toHaveBeenCalled()
    await node.discard(1, 5000)
    expect(discard.mock.calls).toEqual([
      [512, 3584],
      [4096, 512],
    ])
  })
})

describe('resizes', () => {
  /** The order in which a node of that kind runs a simultaneous read, resize and write. */
  const orderOn = async (kind: 'format' | 'protocol'): Promise<string> => {
    const log: string[] = []
    const note = async (what: string): Promise<void> => {
      log.push(what)
      await turns(20)
      log.push(`/${what}`)
    }
    const ops: NodeOps = {
      size: () => 65536,
      read: () => note('read'),
      write: () => note('write'),
      truncate: () => note('resize'),
    }
    const node = nodeOf(ops, {}, kind)
    const data = new Uint8Array(512)
    await Promise.all([node.read(0, data), node.truncate(1024), node.write(0, data)])
    return log.join(' ')
  }

  it('of a format, which lets go of clusters, share the node with no other request', async () => {
    expect(await orderOn('format')).toBe('read /read resize /resize write /write')
  })

  it('of a protocol wait for no other request: a debugger may hold up requests there', async () => {
    expect(await orderOn('protocol')).toBe('read resize write /read /resize /write')
  })
})

describe('errors and events of requests', () => {
  it('tell listeners of the request that failed', async () => {
    const { ops } = slowDisk(16, {}, { read: () => Promise.reject(new BlockError('EIO', 'scratched')) })
    const node: BlockNode = nodeOf(ops)
    const heard = vi.fn()
    node.on('io-error', heard)
    await expect(node.read(3, new Uint8Array(1))).rejects.toThrow('scratched')
    expect(heard).toHaveBeenCalledWith({ operation: 'read', offset: 3, error: expect.any(BlockError) })
  })

  it('announce the steps of writes to the driver, also of those that fail', async () => {
    const events: string[] = []
    const { ops } = slowDisk(
      1024,
      { requestAlignment: 512 },
      { debugEvent: (event) => void events.push(event) },
    )
    const node = nodeOf(ops)
    await node.write(0, new Uint8Array(512))
    await node.writeZeroes(0, 512)
    await node.write(512, new Uint8Array(1))
    expect(events).toEqual([
      'pwritev',
      'pwritev_done',
      'pwritev_zero',
      'pwritev_done',
      'pwritev_rmw_tail',
      'pwritev_rmw_after_tail',
      'pwritev',
      'pwritev_done',
    ])
    const failing = nodeOf({ ...ops, write: () => Promise.reject(new Error('no')) })
    events.length = 0
    await failing.write(0, new Uint8Array(512)).catch(() => undefined)
    expect(events).toEqual(['pwritev', 'pwritev_done'])
  })

  it('refuse what the driver has no method for', async () => {
    const node = nodeOf({ size: () => 512, read: async () => {} })
    await expect(node.write(0, new Uint8Array(1))).rejects.toMatchObject({ code: 'EPERM' })
    await expect(node.truncate(1)).rejects.toMatchObject({ code: 'ENOTSUP' })
    await expect(node.check()).rejects.toMatchObject({ code: 'ENOTSUP' })
    await expect(node.readVmState(0, new Uint8Array(1))).rejects.toMatchObject({ code: 'ENOTSUP' })
    expect(await node.info()).toEqual({})
  })
})
