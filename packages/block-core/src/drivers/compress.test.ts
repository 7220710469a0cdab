import { describe, expect, it } from 'vitest'
import type { NodeOps } from '../contract/node-ops.ts'
import { nodeOf, openTestNode } from '../testing/nodes.ts'
import { compress } from './compress.ts'
import { openMemory } from './memory.ts'

const CLUSTER = 4096
const SIZE = 3 * CLUSTER + 1024

/** A format that compresses clusters. */
function compressing() {
  const content = new Uint8Array(SIZE)
  const asked: string[] = []
  const put =
    (what: string) =>
    async (offset: number, from: Uint8Array): Promise<void> => {
      asked.push(`${what} ${offset}+${from.length}`)
      content.set(from, offset)
    }
  const ops: NodeOps = {
    limits: { requestAlignment: 512, compressedAlignment: CLUSTER },
    size: () => SIZE,
    read: async (offset, into) => into.set(content.subarray(offset, offset + into.length)),
    write: put('write'),
    writeCompressed: put('compressed'),
    writeZeroes: async (offset, bytes) => {
      asked.push(`zero ${offset}+${bytes}`)
      content.fill(0, offset, offset + bytes)
    },
    writeFlags: new Set(['fua']),
    flush: async () => void asked.push('flush'),
  }
  return { content, asked, node: openTestNode(compress, { children: { file: nodeOf(ops) } }) }
}

describe('the compress filter', () => {
  it('makes compressed writes of whole clusters out of all writes', async () => {
    const { content, asked, node: opening } = compressing()
    const node = await opening
    content.fill(1)
    await node.write(CLUSTER, new Uint8Array(2 * CLUSTER).fill(2))
    await node.write(100, new Uint8Array(200).fill(3))
    await node.write(SIZE - 512, new Uint8Array(512).fill(4))
    await node.writeZeroes(CLUSTER, CLUSTER)
    expect(asked).toEqual([
      `compressed ${CLUSTER}+${2 * CLUSTER}`,
      `compressed 0+${CLUSTER}`,
      `compressed ${3 * CLUSTER}+1024`,
      `zero ${CLUSTER}+${CLUSTER}`,
    ])
    expect([99, 100, 299, 300, CLUSTER, 2 * CLUSTER, SIZE - 513, SIZE - 1].map((at) => content[at])).toEqual([
      1, 3, 3, 1, 0, 2, 1, 4,
    ])
  })

  it('makes a write durable that has to be', async () => {
    const { asked, node } = compressing()
    await (await node).write(0, new Uint8Array(CLUSTER), { fua: true })
    expect(asked).toEqual([`compressed 0+${CLUSTER}`, 'flush'])
  })

  it('is refused over what does not compress', async () => {
    await expect(
      openTestNode(compress, { children: { file: openMemory(new Uint8Array(512)) } }),
    ).rejects.toMatchObject({
      code: 'ENOTSUP',
      message: 'Compression is not supported for underlying format: memory',
    })
  })
})
