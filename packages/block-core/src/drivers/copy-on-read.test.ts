import { describe, expect, it } from 'vitest'
import type { BlockStatus } from '../contract/node.ts'
import type { NodeOps } from '../contract/node-ops.ts'
import { nodeOf, openTestNode } from '../testing/nodes.ts'
import { copyOnRead } from './copy-on-read.ts'

const CLUSTER = 1024
const SIZE = 10 * CLUSTER + 512

const DISK = { size: () => SIZE, read: async () => {} } satisfies NodeOps

/** An image over a backing file of sevens, with the clusters it holds and a record of its requests. */
function overlay() {
  const held = new Map<number, Uint8Array>()
  const log: string[] = []
  const backing = new Uint8Array(SIZE).fill(7, 0, 4 * CLUSTER)
  const ops: NodeOps = {
    size: () => SIZE,
    async read(offset, into) {
      log.push(`read ${offset} ${into.length}`)
      for (let i = 0; i < into.length; i++) {
        const [cluster, inside] = [Math.floor((offset + i) / CLUSTER), (offset + i) % CLUSTER]
        into[i] = held.get(cluster)?.[inside] ?? backing[offset + i]!
      }
    },
    async write(offset, from) {
      log.push(`write ${offset} ${from.length}`)
      for (let at = 0; at < from.length; at += CLUSTER)
        held.set((offset + at) / CLUSTER, from.slice(at, at + CLUSTER))
    },
    async writeZeroes(offset, bytes) {
      log.push(`zero ${offset} ${bytes}`)
      for (let at = 0; at < bytes; at += CLUSTER) held.set((offset + at) / CLUSTER, new Uint8Array(CLUSTER))
    },
    async blockStatus(offset, bytes): Promise<BlockStatus> {
      const isHeld = (at: number): boolean => held.has(Math.floor(at / CLUSTER))
      const allocated = isHeld(offset)
      let length = CLUSTER - (offset % CLUSTER)
      while (length < bytes && isHeld(offset + length) === allocated) length += CLUSTER
      return { bytes: Math.min(length, bytes), allocated, data: allocated, zero: false }
    },
    info: async () => ({ clusterSize: CLUSTER }),
  }
  const open = () => openTestNode(copyOnRead, { children: { file: nodeOf(ops) } })
  return { held, log, open, backing }
}

describe('copy-on-read', () => {
  it('keeps whole clusters of what it reads from the backing file', async () => {
    const { held, log, open } = overlay()
    const node = await open()
    const into = new Uint8Array(300)
    await node.read(CLUSTER + 900, into)
    expect(into.every((byte) => byte === 7)).toBe(true)
    expect([...held.keys()].sort()).toEqual([1, 2])
    expect(log).toEqual([`read ${CLUSTER} ${2 * CLUSTER}`, `write ${CLUSTER} ${2 * CLUSTER}`])
  })

  it('reads what the image holds and copies nothing twice', async () => {
    const { log, open } = overlay()
    const node = await open()
    await node.read(0, new Uint8Array(10))
    log.length = 0
    await node.read(5, new Uint8Array(100))
    expect(log).toEqual(['read 5 100'])
  })

  it('keeps zeroes as zeroes, up to an end inside a cluster', async () => {
    const { log, open } = overlay()
    const node = await open()
    const into = new Uint8Array(612).fill(1)
    await node.read(10 * CLUSTER - 100, into)
    expect(into.every((byte) => byte === 0)).toBe(true)
    expect(log).toContain(`zero ${9 * CLUSTER} ${CLUSTER + 512}`)
  })

  it('does not overwrite a write that comes while it copies', async () => {
    const { held, open } = overlay()
    const node = await open()
    const read = node.read(0, new Uint8Array(512))
    const write = node.write(0, new Uint8Array(CLUSTER).fill(9))
    await Promise.all([read, write])
    expect(held.get(0)![0]).toBe(9)
  })

  it('needs an image that may be written', async () => {
    const child = nodeOf(DISK, { config: { readOnly: true } })
    await expect(openTestNode(copyOnRead, { children: { file: child } })).rejects.toMatchObject({
      code: 'EPERM',
      message: 'Block node is read-only',
    })
  })
})
