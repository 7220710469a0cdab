/** The driver contract, second half: flushes, sizes, block status, and the end of a node. */
import { describe, expect, it, vi } from 'vitest'
import type { BlockNode } from '../contract/node.ts'
import {
  type Bench,
  crash,
  type DriverCapabilities,
  expectCode,
  expectSame,
  type MakeNode,
  pattern,
  readBack,
  SIZE,
  watchFlush,
} from './contract-kit.ts'
import { runModel } from './model.ts'
import { toBytes } from './nodes.ts'

/** Declares the test cases for flushes, sizes, block status and the end of a node, and the random runs. */
export function nodeCases(
  { fresh, full, keep }: Bench,
  makeNode: MakeNode,
  capabilities: DriverCapabilities,
): void {
  const { discard = 'undefined', truncate = 'none', knowsZeroes = false, granularity = 4096 } = capabilities

  describe('flushes', () => {
    it('flush nothing when nothing was written', async () => {
      const node = await fresh()
      const flush = watchFlush(node)
      await node.flush()
      await readBack(node, 0, 10)
      await node.flush()
      expect(flush()).toBe(0)
    })

    it('flush once for what was written, however often they are asked', async ({ skip }) => {
      const node = await fresh()
      if (!node.can('flush')) skip('the driver has nothing to flush')
      const flush = watchFlush(node)
      await node.write(0, pattern(100))
      await Promise.all([node.flush(), node.flush(), node.flush()])
      await node.flush()
      expect(flush()).toBe(1)
      await node.writeZeroes(0, 10)
      await node.flush()
      expect(flush()).toBe(2)
    })
  })

  describe('truncation', () => {
    it('is refused with ENOTSUP where there is none', async ({ skip }) => {
      if (truncate !== 'none') skip('the driver has it')
      await expectCode((await fresh()).truncate(2 * SIZE), 'ENOTSUP')
    })

    it('grows with zeroes, and tells', async ({ skip }) => {
      if (truncate === 'none') skip('the driver has none')
      const [node, content] = await full()
      const resized = vi.fn()
      node.on('resize', resized)
      await node.truncate(2 * SIZE)
      expect(node.size).toBe(2 * SIZE)
      expect(resized.mock.calls).toEqual([[2 * SIZE]])
      expectSame(await readBack(node, 0, SIZE), content)
      expectSame(await readBack(node, SIZE, SIZE), new Uint8Array(SIZE))
      await node.write(2 * SIZE - 5, pattern(5))
      expectSame(await readBack(node, 2 * SIZE - 5, 5), pattern(5))
    })

    it('does not bring back what it cut off', async ({ skip }) => {
      if (truncate !== 'grow-and-shrink') skip('the driver does not shrink')
      const [node, content] = await full()
      const cut = SIZE / 2 + 4096
      await node.truncate(cut)
      expect(node.size).toBe(cut)
      if (!node.growable) await expectCode(node.read(cut, new Uint8Array(1)), 'EIO')
      await node.truncate(SIZE)
      expectSame(await readBack(node, 0, cut), content.subarray(0, cut))
      expectSame(await readBack(node, cut, SIZE - cut), new Uint8Array(SIZE - cut))
    })

    it('to the same size changes nothing and tells nothing', async ({ skip }) => {
      if (truncate === 'none') skip('the driver has none')
      const [node, content] = await full()
      const resized = vi.fn()
      node.on('resize', resized)
      await node.truncate(SIZE)
      expect(resized).not.toHaveBeenCalled()
      expectSame(await toBytes(node), content)
    })

    it.each([-1, 0.5, Number.NaN])('refuses size %f', async (bytes) => {
      await expectCode((await fresh()).truncate(bytes), 'EINVAL')
    })
  })

  describe('block status', () => {
    /** Walks a range; fails if an answer is empty or too long. */
    const walk = async (node: BlockNode, from: number, to: number, step: number) => {
      const runs: { from: number; to: number; zero: boolean; data: boolean }[] = []
      for (let at = from; at < to; ) {
        const asked = Math.min(step, to - at)
        const { bytes, zero, data } = await node.blockStatus(at, asked)
        expect(bytes).toBeGreaterThan(0)
        expect(bytes).toBeLessThanOrEqual(asked)
        runs.push({ from: at, to: at + bytes, zero, data })
        at += bytes
      }
      return runs
    }

    it.each([1000, 65536, SIZE])(
      'in steps of %i covers the disk, and calls zero only what is',
      async (step) => {
        const node = await fresh()
        await node.write(100_000, pattern(1000))
        await node.write(300_000, pattern(200_000))
        await node.writeZeroes(350_000, 100_000, { mayUnmap: true })
        const content = await toBytes(node)
        for (const run of await walk(node, 0, SIZE, step)) {
          if (run.zero) expect(content.subarray(run.from, run.to).every((byte) => byte === 0)).toBe(true)
        }
      },
    )

    it('starts anywhere', async () => {
      const node = await fresh()
      await node.write(65_536, pattern(65_536))
      for (const run of await walk(node, 65_537, 131_071, 777))
        expect(run).toMatchObject({ zero: false, data: true })
    })

    it('is empty at the end, and is cut there', async () => {
      const node = await fresh()
      expect((await node.blockStatus(SIZE, 10)).bytes).toBe(0)
      expect((await node.blockStatus(SIZE + 99, 10)).bytes).toBe(0)
      expect((await node.blockStatus(SIZE - 3, 10)).bytes).toBe(3)
    })

    it('tells a fresh disk from data', async ({ skip }) => {
      if (!knowsZeroes) skip('the driver cannot')
      const node = await fresh()
      expect((await walk(node, 0, SIZE, SIZE)).every((run) => run.zero)).toBe(true)
      await node.write(0, pattern(SIZE))
      expect((await walk(node, 0, SIZE, SIZE)).every((run) => run.data && !run.zero)).toBe(true)
    })
  })

  describe('the end of a node', () => {
    it('refuses requests after close, and tells of it once', async () => {
      const node = await fresh()
      const closed = vi.fn()
      node.on('close', closed)
      await node.write(0, pattern(10))
      await Promise.all([node.close(), node.close()])
      await node.close()
      expect(node.isOpen).toBe(false)
      expect(closed).toHaveBeenCalledTimes(1)
      await expectCode(node.read(0, new Uint8Array(1)), 'ENOMEDIUM')
      await expectCode(node.write(0, new Uint8Array(1)), 'ENOMEDIUM')
      await expectCode(node.flush(), 'ENOMEDIUM')
    })

    it('lets requests in flight end before it closes', async () => {
      const node = await fresh()
      const done: string[] = []
      const write = node.write(1, pattern(100_000)).then(() => done.push('write'))
      await node.close().then(() => done.push('close'))
      await write
      expect(done).toEqual(['write', 'close'])
    })

    it('rejects what is in flight, and all that comes later, when it crashes', async () => {
      const node = await fresh()
      const write = expectCode(node.write(0, pattern(SIZE)), 'ECANCELED')
      await crash(node)
      await write
      expect(node.isOpen).toBe(false)
      await expectCode(node.read(0, new Uint8Array(1)), 'ECANCELED')
      await expectCode(node.flush(), 'ECANCELED')
      await crash(node)
      await node.close()
    })

    it('drains', async () => {
      const node = await fresh()
      let ended = false
      const write = node.write(0, pattern(100_000)).then(() => (ended = true))
      await node.drain()
      expect(ended || (await Promise.race([write, Promise.resolve(false)]))).toBe(true)
      await node.drained(() => Promise.resolve())
      await node.write(0, pattern(1))
    })

    it('keeps what was written when it is closed', async ({ skip }) => {
      if (!capabilities.reopen) skip('the disk is gone then')
      const [node, content] = await full()
      await node.writeZeroes(5000, 70_000)
      content.fill(0, 5000, 75_000)
      await node.close()
      const again = keep(await capabilities.reopen!(node))
      expect(again.size).toBe(SIZE)
      expectSame(await toBytes(again), content)
    })

    it('keeps what was flushed when it crashes', async ({ skip }) => {
      if (!capabilities.reopen) skip('the disk is gone then')
      const [node, content] = await full()
      await node.flush()
      const late = node.write(0, pattern(4096)).catch(() => undefined)
      await crash(node)
      await late
      const again = keep(await capabilities.reopen!(node))
      const bytes = await toBytes(again)
      expectSame(bytes.subarray(4096), content.subarray(4096))
    })
  })

  describe('random operations', () => {
    it.each(capabilities.seeds ?? [1, 2, 3])('seed %i gives the same as an array of bytes', async (seed) => {
      const { reopen } = capabilities
      await runModel({
        seed,
        operations: 120,
        granularity,
        makeNode: () => makeNode({ size: SIZE, readOnly: false, writeCache: true, detectZeroes: 'off' }),
        discard,
        truncateUpTo: truncate === 'grow-and-shrink' && capabilities.unalignedSizes ? 2 * SIZE : undefined,
        ...(reopen && {
          async reopen(node: BlockNode) {
            await node.close()
            return reopen(node)
          },
        }),
      })
    })
  })
}
