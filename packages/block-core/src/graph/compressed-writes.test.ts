import { describe, expect, it, vi } from 'vitest'
import type { NodeOps } from '../contract/node-ops.ts'
import type { BlockLimits } from '../contract/requests.ts'
import { DiskHandle } from '../disk/handle.ts'
import { nodeOf } from '../testing/nodes.ts'
import { createRandom } from '../testing/random.ts'

const turns = async (count = 5): Promise<void> => {
  for (let i = 0; i < count; i++) await Promise.resolve()
}

describe('compressed writes', () => {
  const CLUSTER = 4096
  const SIZE = 5 * CLUSTER + 1000
  /** A format of blocks of 512 bytes that are compressed in clusters. */
  function compressing(limits: Partial<BlockLimits> = {}) {
    const content = new Uint8Array(SIZE)
    const asked: [operation: string, offset: number, bytes: number][] = []
    const put =
      (operation: string) =>
      async (offset: number, from: Uint8Array): Promise<void> => {
        asked.push([operation, offset, from.length])
        await turns()
        content.set(from, offset)
      }
    const writeCompressed = vi.fn(put('compressed'))
    const ops: NodeOps = {
      limits: { requestAlignment: 512, compressedAlignment: CLUSTER, ...limits },
      size: () => SIZE,
      async read(offset, into) {
        await turns()
        into.set(content.subarray(offset, offset + into.length))
      },
      write: put('write'),
      writeCompressed,
      flush: async () => void asked.push(['flush', 0, 0]),
    }
    const operations = (): string[] => asked.map(([operation]) => operation)
    return { node: nodeOf(ops), content, asked, operations, writeCompressed }
  }

  it('are whole clusters, and may end with the disk', async () => {
    const { node, asked, operations } = compressing()
    const all = createRandom(2).bytes(SIZE)
    for (const [offset, bytes] of [
      [1, CLUSTER],
      [512, CLUSTER],
      [0, CLUSTER - 1],
      [CLUSTER, CLUSTER + 512],
      [5 * CLUSTER, 999],
    ] as const)
      await expect(node.writeCompressed(offset, all.subarray(0, bytes))).rejects.toMatchObject({
        code: 'EINVAL',
      })
    await expect(node.writeCompressed(5 * CLUSTER, all.subarray(0, CLUSTER))).rejects.toMatchObject({
      code: 'EIO',
    })
    expect(operations()).toEqual([])
    await node.writeCompressed(0, all)
    expect(asked).toEqual([['compressed', 0, SIZE]])
    await node.writeCompressed(5 * CLUSTER, all.subarray(0, 1000))
    expect(asked.at(-1)).toEqual(['compressed', 5 * CLUSTER, 1000])
  })

  it('are split to the longest transfer, but never within a cluster', async () => {
    for (const [maxTransfer, pieces] of [
      [2 * CLUSTER + 512, [2 * CLUSTER, 2 * CLUSTER, CLUSTER + 1000]],
      [512, [CLUSTER, CLUSTER, CLUSTER, CLUSTER, CLUSTER, 1000]],
    ] as const) {
      const { node, asked, content } = compressing({ maxTransfer })
      const data = createRandom(maxTransfer).bytes(SIZE)
      await node.writeCompressed(0, data)
      expect(asked.map(([, , bytes]) => bytes)).toEqual(pieces)
      expect(Buffer.compare(content, data)).toBe(0)
    }
  })

  it('need no more than the blocks of the disk where no cluster is named', async () => {
    const { node } = compressing({ compressedAlignment: 1 })
    expect(node.limits.compressedAlignment).toBe(512)
    await node.writeCompressed(512, new Uint8Array(512))
    await expect(node.writeCompressed(0, new Uint8Array(100))).rejects.toMatchObject({ code: 'EINVAL' })
  })

  it('wait for requests that overlap, and these for them', async () => {
    const { node, asked, operations } = compressing()
    const done: string[] = []
    await Promise.all([
      node.write(100, new Uint8Array(10).fill(1)).then(() => done.push('write')),
      node.writeCompressed(0, new Uint8Array(CLUSTER).fill(2)).then(() => done.push('compressed')),
      node.writeCompressed(CLUSTER, new Uint8Array(CLUSTER)).then(() => done.push('the next cluster')),
    ])
    expect(done).toEqual(['the next cluster', 'write', 'compressed'])
    asked.length = 0
    await Promise.all([node.writeCompressed(0, new Uint8Array(CLUSTER)), node.writeZeroes(0, 512)])
    expect(operations()).toEqual(['compressed', 'write'])
  })

  it('to one cluster run one after another, also on a disk without blocks', async () => {
    const { node, writeCompressed } = compressing({ requestAlignment: 1 })
    let most = 0
    let running = 0
    writeCompressed.mockImplementation(async () => {
      most = Math.max(most, ++running)
      await turns()
      running--
    })
    await Promise.all(Array.from({ length: 4 }, () => node.writeCompressed(0, new Uint8Array(CLUSTER))))
    expect(most).toBe(1)
  })

  it('end with the node: after a crash no further piece is written', async () => {
    const { node, writeCompressed } = compressing({ maxTransfer: CLUSTER })
    const write = node.writeCompressed(0, new Uint8Array(SIZE))
    const failed = expect(write).rejects.toMatchObject({ code: 'ECANCELED' })
    for (let i = 0; i < 20 && writeCompressed.mock.calls.length === 0; i++) await turns(1)
    await node.crash()
    await failed
    expect(writeCompressed).toHaveBeenCalledTimes(1)
  })

  it('give the next flush work to do, and are durable through a handle without a write cache', async () => {
    const { node, operations } = compressing()
    await node.writeCompressed(0, new Uint8Array(CLUSTER))
    await node.flush()
    await node.flush()
    expect(operations()).toEqual(['compressed', 'flush'])
    const through = compressing()
    await new DiskHandle(through.node, false).writeCompressed(0, new Uint8Array(CLUSTER))
    expect(through.operations()).toEqual(['compressed', 'flush'])
  })
})
