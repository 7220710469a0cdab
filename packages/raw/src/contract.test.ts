/** The contract of all drivers for raw disks, opened as applications do. */
import { BlockNode, DriverRegistry, denyHost, memory, openNode, reopenNode } from '@vmblock/block-core'
import { defineDriver } from '@vmblock/block-core/driver'
import { driverContract, openTestNode, toBytes } from '@vmblock/block-core/testing'
import { describe, expect, it } from 'vitest'
import { raw } from './raw.ts'

const capabilities = {
  discard: 'zeroes',
  truncate: 'grow-and-shrink',
  knowsZeroes: true,
  granularity: 65536,
} as const

driverContract(
  'raw',
  async ({ size, ...config }) => {
    const file = await openTestNode(memory, { options: { size } })
    return openTestNode(raw, { config, children: { file } })
  },
  capabilities,
)

driverContract(
  'raw behind 64 KiB of something else',
  async ({ size, ...config }) => {
    const file = await openTestNode(memory, { options: { size: size + 65536 } })
    return openTestNode(raw, { config, options: { offset: 65536 }, children: { file } })
  },
  capabilities,
)

describe('a raw image', () => {
  const other = defineDriver({
    name: 'other',
    kind: 'format',
    probe: (head) => (head[0] === 0x51 ? 100 : 0),
    open: () => Promise.reject(new Error('not opened here')),
  })
  const environment = { registry: new DriverRegistry([raw, memory, other]), host: denyHost }

  it('that was probed is guarded, and one that was called raw is not', async () => {
    const probed = await openNode(environment, { file: { driver: 'memory', size: 4096 } })
    expect(probed.driver.name).toBe('raw')
    await expect(probed.write(0, Uint8Array.of(0x51))).rejects.toMatchObject({ code: 'EPERM' })
    expect((await toBytes(probed))[0]).toBe(0)
    const named = await openNode(environment, { driver: 'raw', file: { driver: 'memory', size: 4096 } })
    await named.write(0, Uint8Array.of(0x51))
    expect((await toBytes(named))[0]).toBe(0x51)
    expect(named).toBeInstanceOf(BlockNode)
  })

  it('moves its window by a reopen', async () => {
    const file = { driver: 'memory', size: 4096 } as const
    const disk = await openNode(environment, { driver: 'raw', offset: 512, size: 512, file })
    await disk.write(0, new Uint8Array(512).fill(7))
    await reopenNode(disk, { options: { offset: 0, size: 1024 } })
    expect(disk.size).toBe(1024)
    expect([...(await toBytes(disk)).subarray(511, 513)]).toEqual([0, 7])
    await expect(reopenNode(disk, { options: { size: 8192 } })).rejects.toThrow('has to be smaller or equal')
    expect(disk.size).toBe(1024)
  })
})
