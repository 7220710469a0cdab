import { describe, expect, it, vi } from 'vitest'
import type { NodeOps } from '../contract/node-ops.ts'
import type { WriteFlags } from '../contract/requests.ts'
import { breakpointsOf, opsOf } from '../graph/node-internals.ts'
import { nodeOf, openTestNode } from '../testing/nodes.ts'
import { memory, openMemory } from './memory.ts'
import { passThrough } from './pass-through.ts'

const filterOver = (ops: NodeOps) => openTestNode(passThrough, { children: { file: nodeOf(ops) } })

const DISK = { size: () => 65536, read: async () => {}, write: async () => {} } satisfies NodeOps

describe('a pass-through filter', () => {
  it('can what its child can, and no more', async () => {
    const least = await filterOver({ size: () => 1, read: async () => {} })
    for (const ability of ['write', 'writeZeroes', 'discard', 'truncate', 'blockStatus'] as const)
      expect(least.can(ability), ability).toBe(false)
    expect(opsOf(least).debugEvent).toBeUndefined()
    expect(least.growable).toBe(false)
    const over = await openTestNode(passThrough, {
      children: { file: openMemory(new Uint8Array(1)) },
    })
    for (const ability of ['write', 'writeZeroes', 'discard', 'truncate', 'blockStatus'] as const)
      expect(over.can(ability), ability).toBe(true)
    expect(opsOf(over).debugEvent).toBeUndefined()
    expect(over.growable).toBe(true)
  })

  it.each<WriteFlags>([{ mayUnmap: true }, { noFallback: true }, { fua: true, mayUnmap: true }])(
    'hands the flags %o of a zero write on',
    async (flags) => {
      const writeZeroes = vi.fn(async () => {})
      const writeFlags = new Set(['fua'] as const)
      const node = await filterOver({
        ...DISK,
        writeZeroes,
        writeFlags,
        zeroFlags: new Set(['fua', 'mayUnmap', 'noFallback']),
      })
      await node.writeZeroes(512, 1024, flags)
      expect(writeZeroes.mock.calls).toEqual([
        [512, 1024, { fua: false, mayUnmap: false, noFallback: false, ...flags }],
      ])
    },
  )

  it('hands FUA on where the disk knows it, and flushes where not', async () => {
    const write = vi.fn(async () => {})
    const flush = vi.fn(async () => {})
    const knows = await filterOver({ ...DISK, write, flush, writeFlags: new Set(['fua']) })
    await knows.write(0, new Uint8Array(1), { fua: true })
    expect(write).toHaveBeenCalledWith(0, new Uint8Array(1), { fua: true })
    expect(flush).not.toHaveBeenCalled()
    const knowsNot = await filterOver({ ...DISK, write, flush })
    await knowsNot.write(0, new Uint8Array(1), { fua: true })
    expect(flush).toHaveBeenCalledTimes(1)
  })

  it('keeps the limits of its child', async () => {
    const node = await filterOver({ ...DISK, limits: { requestAlignment: 512, maxTransfer: 4096 } })
    expect(node.limits).toMatchObject({ requestAlignment: 512, maxTransfer: 4096 })
  })

  it('shows the block status of its child', async () => {
    const file = await openTestNode(memory, { options: { size: 2 ** 20 } })
    await file.write(65536, Uint8Array.of(1))
    const node = await openTestNode(passThrough, { children: { file } })
    for (const at of [0, 5, 65536, 70_000, 131_072])
      expect(await node.blockStatus(at, 2 ** 20)).toMatchObject(await file.blockStatus(at, 2 ** 20))
  })

  it('passes debug events and breakpoints', async () => {
    const debugEvent = vi.fn()
    const breakpoints = { set() {}, remove() {}, resume() {}, isSuspended: () => false, wait: async () => {} }
    const node = await filterOver({ ...DISK, debugEvent, breakpoints })
    await opsOf(node).debugEvent!('l2_load')
    expect(debugEvent).toHaveBeenCalledWith('l2_load')
    expect(breakpointsOf(node)).toBe(breakpoints)
  })

  it('needs a child', async () => {
    await expect(openTestNode(passThrough)).rejects.toMatchObject({ code: 'EINVAL' })
  })

  it('reaches its child no more once it crashed, while the child lives on', async () => {
    const file = openMemory(Uint8Array.of(1))
    const node = await openTestNode(passThrough, { children: { file } })
    await node.crash()
    await expect(opsOf(node).write!(0, Uint8Array.of(2), {})).rejects.toMatchObject({ code: 'ECANCELED' })
    const left = new Uint8Array(1)
    await file.read(0, left)
    expect(left[0]).toBe(1)
  })
})
