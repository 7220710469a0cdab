import { describe, expect, it } from 'vitest'
import { driverContract } from '../testing/driver-contract.ts'
import { openTestNode, toBytes } from '../testing/nodes.ts'
import { createRandom } from '../testing/random.ts'
import { MEMORY_PAGE, memory, openMemory } from './memory.ts'

driverContract('memory', ({ size, ...config }) => openTestNode(memory, { options: { size }, config }), {
  discard: 'zeroes',
  truncate: 'grow-and-shrink',
  unalignedSizes: true,
  knowsZeroes: true,
  granularity: MEMORY_PAGE,
})

const TIB = 2 ** 40

describe('a memory disk', () => {
  const allocated = async (node: { info(): Promise<{ actualSize?: number }> }): Promise<number> =>
    (await node.info()).actualSize!

  it('of 1 TiB with three clusters written takes three clusters', async () => {
    const node = await openTestNode(memory, { options: { size: '1T' } })
    const cluster = createRandom(1).bytes(65536)
    for (const offset of [0, TIB / 2, TIB - 65536]) await node.write(offset, cluster)
    expect(node.size).toBe(TIB)
    expect(await allocated(node)).toBe(3 * 65536)
    expect(await node.blockStatus(65536, TIB)).toMatchObject({
      bytes: TIB / 2 - 65536,
      zero: true,
      data: false,
    })
    expect(await node.blockStatus(TIB / 2, TIB)).toMatchObject({ bytes: 65536, zero: false, data: true })
  })

  it('takes nothing for zeroes, written or not', async () => {
    const node = await openTestNode(memory, { options: { size: TIB } })
    await node.write(1000, new Uint8Array(1_000_000))
    await node.writeZeroes(0, TIB)
    await node.discard(5, TIB - 10)
    expect(await allocated(node)).toBe(0)
  })

  it.each(['write', 'writeZeroes', 'discard'] as const)('gives whole pages back on %s', async (way) => {
    const node = openMemory(createRandom(2).bytes(4 * MEMORY_PAGE))
    const [offset, bytes] = [MEMORY_PAGE - 100, 2 * MEMORY_PAGE + 200]
    if (way === 'write') await node.write(offset, new Uint8Array(bytes))
    else await node[way](offset, bytes)
    expect(await allocated(node)).toBe(2 * MEMORY_PAGE)
    const content = createRandom(2)
      .bytes(4 * MEMORY_PAGE)
      .fill(0, offset, offset + bytes)
    expect(Buffer.compare(await toBytes(node), content)).toBe(0)
  })

  it('grows with the zero writes and the writes beyond its end, but not with discards', async () => {
    const node = await openTestNode(memory)
    await node.discard(0, 1000)
    expect(node.size).toBe(0)
    await node.writeZeroes(10, 990)
    expect(node.size).toBe(1000)
    await node.write(2000, Uint8Array.of(1))
    expect(node.size).toBe(2001)
    expect(await allocated(node)).toBe(MEMORY_PAGE)
  })

  it('does not show what a shorter size cut off', async () => {
    const node = openMemory(createRandom(3).bytes(100))
    await node.truncate(10)
    expect(await toBytes(node)).toEqual(createRandom(3).bytes(100).subarray(0, 10))
    await node.truncate(100)
    expect((await toBytes(node)).subarray(10)).toEqual(new Uint8Array(90))
  })

  it('refuses preallocation', async () => {
    const node = await openTestNode(memory)
    await expect(node.truncate(100, { preallocation: 'full' })).rejects.toMatchObject({
      code: 'ENOTSUP',
      message: "Unsupported preallocation mode 'full'",
    })
  })

  it('made from bytes copies them', async () => {
    const bytes = createRandom(4).bytes(1000)
    const node = openMemory(bytes, { name: 'seed', readOnly: true })
    bytes.fill(0)
    expect(await toBytes(node)).toEqual(createRandom(4).bytes(1000))
    await expect(node.write(0, bytes)).rejects.toMatchObject({ code: 'EPERM', node: 'seed' })
  })

  it('keeps a copy of a whole page, even from a Buffer', async () => {
    const node = await openTestNode(memory)
    const page = Buffer.alloc(MEMORY_PAGE, 7)
    await node.write(0, page)
    page.fill(1)
    expect((await toBytes(node)).every((byte) => byte === 7)).toBe(true)
  })
})
