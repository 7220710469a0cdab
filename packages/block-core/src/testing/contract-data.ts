/** The driver contract, first half: data that is written by any request is read back. */
import { describe, expect, it } from 'vitest'
import {
  type Bench,
  type DriverCapabilities,
  expectCode,
  expectSame,
  pattern,
  RANGES,
  readBack,
  SIZE,
} from './contract-kit.ts'
import { toBytes } from './nodes.ts'

/** Declares the test cases for reading, writing, zeroing and discarding. */
export function dataCases({ fresh, full }: Bench, capabilities: DriverCapabilities): void {
  const { discard = 'undefined' } = capabilities

  describe('reads and writes', () => {
    it('has the size it was made with, and reads as zeroes', async () => {
      const node = await fresh()
      expect(node.size).toBe(SIZE)
      expectSame(await toBytes(node), new Uint8Array(SIZE))
    })

    it.each(RANGES)('at %i, writes %i bytes and nothing beside them', async (offset, length) => {
      const [node, content] = await full()
      const data = pattern(length)
      await node.write(offset, data)
      content.set(data, offset)
      expectSame(await readBack(node, offset, length), data)
      expectSame(await toBytes(node), content)
    })

    it.each(RANGES)('at %i, reads %i bytes of a full disk', async (offset, length) => {
      const [node, content] = await full()
      expectSame(await readBack(node, offset, length), content.subarray(offset, offset + length))
    })

    it('writes into an empty disk leave zeroes around them', async () => {
      const node = await fresh()
      await node.write(70_001, pattern(10))
      const expected = new Uint8Array(SIZE)
      expected.set(pattern(10), 70_001)
      expectSame(await toBytes(node), expected)
    })

    it('takes requests without bytes, also at its end', async () => {
      const node = await fresh()
      await node.read(SIZE, new Uint8Array(0))
      await node.write(SIZE, new Uint8Array(0))
      await node.writeZeroes(SIZE, 0)
      await node.discard(0, 0)
      expect(node.size).toBe(SIZE)
    })

    it('leaves the buffer to the caller once a write is done', async () => {
      const node = await fresh()
      const data = pattern(70_000)
      await node.write(0, data)
      data.fill(0)
      expectSame(await readBack(node, 0, 70_000), pattern(70_000))
    })

    it('works on parts of buffers', async () => {
      const node = await fresh()
      const outer = pattern(10_000)
      await node.write(3, outer.subarray(7, 7007))
      const into = new Uint8Array(9000)
      await node.read(3, into.subarray(1001, 8001))
      expect(into.subarray(1001, 8001)).toEqual(outer.subarray(7, 7007))
      expect(into.subarray(0, 1001)).toEqual(new Uint8Array(1001))
      expect(into.subarray(8001)).toEqual(new Uint8Array(999))
    })

    it('keeps all of many neighbouring writes that are in flight together', async () => {
      const node = await fresh()
      const data = pattern(64 * 777)
      const writes = Array.from({ length: 64 }, (_, i) =>
        node.write(50 + i * 777, data.subarray(i * 777, (i + 1) * 777)),
      )
      await Promise.all(writes)
      expectSame(await readBack(node, 50, data.length), data)
    })

    it('gives each byte of overlapping writes to one of them', async () => {
      const node = await fresh()
      await Promise.all([
        node.write(100, new Uint8Array(5000).fill(1)),
        node.write(2100, new Uint8Array(5000).fill(2)),
      ])
      const bytes = await readBack(node, 0, 8000)
      expect(bytes.subarray(0, 100)).toEqual(new Uint8Array(100))
      expect(bytes.subarray(100, 2100)).toEqual(new Uint8Array(2000).fill(1))
      expect(bytes.subarray(2100, 5100).every((byte) => byte === 1 || byte === 2)).toBe(true)
      expect(bytes.subarray(5100, 7100)).toEqual(new Uint8Array(2000).fill(2))
      expect(bytes.subarray(7100)).toEqual(new Uint8Array(900))
    })

    it('answers reads beside writes in flight', async () => {
      const [node, content] = await full()
      const [, near] = await Promise.all([node.write(4096, pattern(4096)), readBack(node, 8192, 5000)])
      expect(near).toEqual(content.subarray(8192, 13_192))
    })

    it('makes writes durable one by one when write-through', async () => {
      const node = await fresh({ writeCache: false })
      await node.write(1, pattern(5))
      await node.writeZeroes(3, 1)
      expectSame(await readBack(node, 0, 7), Uint8Array.of(0, ...pattern(5).with(2, 0), 0))
    })

    it('takes the FUA flag', async () => {
      const node = await fresh()
      await node.write(512, pattern(512), { fua: true })
      await node.writeZeroes(1024, 512, { fua: true })
      expectSame(await readBack(node, 512, 512), pattern(512))
    })
  })

  describe('bounds', () => {
    it.each([-1, 0.5, Number.NaN, 2 ** 53])('refuses offset %f', async (offset) => {
      const node = await fresh()
      await expectCode(node.read(offset, new Uint8Array(1)), 'EIO')
      await expectCode(node.write(offset, new Uint8Array(1)), 'EIO')
      await expectCode(node.writeZeroes(offset, 1), 'EIO')
      await expectCode(node.discard(offset, 1), 'EIO')
    })

    it('refuses what reaches beyond the end, or extends if it is growable', async () => {
      const node = await fresh()
      if (node.growable) {
        expectSame(await readBack(node, SIZE - 1, 3), new Uint8Array(3))
        await node.write(SIZE - 1, Uint8Array.of(1, 2, 3))
        expect(node.size).toBeGreaterThanOrEqual(SIZE + 2)
        expectSame(await readBack(node, SIZE - 1, 3), Uint8Array.of(1, 2, 3))
        return
      }
      await expectCode(node.read(SIZE - 1, new Uint8Array(2)), 'EIO')
      await expectCode(node.write(SIZE - 1, new Uint8Array(2)), 'EIO')
      await expectCode(node.writeZeroes(SIZE, 1), 'EIO')
      await expectCode(node.discard(SIZE - 1, 2), 'EIO')
      expect(node.size).toBe(SIZE)
    })

    it('ends where an odd size says', async ({ skip }) => {
      if (!capabilities.unalignedSizes) skip('the driver rounds sizes')
      const node = await fresh({ size: 100_001 })
      expect(node.size).toBe(100_001)
      await node.write(100_000, Uint8Array.of(7))
      expect(node.size).toBe(100_001)
      expectSame(await readBack(node, 99_999, 2), Uint8Array.of(0, 7))
    })
  })

  describe('read-only nodes', () => {
    it('refuse every change with EPERM, and can be read', async () => {
      const node = await fresh({ readOnly: true })
      expect(node.readOnly).toBe(true)
      await expectCode(node.write(0, new Uint8Array(512)), 'EPERM')
      await expectCode(node.writeZeroes(0, 512), 'EPERM')
      await expectCode(node.discard(0, 512), 'EPERM')
      await expectCode(node.truncate(0), 'EPERM')
      expectSame(await readBack(node, 0, 512), new Uint8Array(512))
      await node.flush()
    })
  })

  describe('zero writes', () => {
    it.each(RANGES)('at %i, clear %i bytes and nothing beside them', async (offset, length) => {
      const [node, content] = await full()
      await node.writeZeroes(offset, length, { mayUnmap: offset % 2 === 0 })
      content.fill(0, offset, offset + length)
      expectSame(await toBytes(node), content)
    })

    it('either do it without writing zeroes, or refuse with ENOTSUP, when asked so', async () => {
      const [node, content] = await full()
      const failed = await node.writeZeroes(65536, 65536, { noFallback: true }).then(
        () => undefined,
        (error: unknown) => error as { code?: string },
      )
      if (failed) expect(failed.code).toBe('ENOTSUP')
      else content.fill(0, 65536, 131_072)
      expectSame(await toBytes(node), content)
    })

    it.each(['on', 'unmap'] as const)(
      'stand for written zeroes with detect-zeroes=%s',
      async (detectZeroes) => {
        const [node, content] = await full({ detectZeroes })
        await node.write(1000, new Uint8Array(200_000))
        content.fill(0, 1000, 201_000)
        expectSame(await toBytes(node), content)
      },
    )

    it('can be overwritten', async () => {
      const [node] = await full()
      await node.writeZeroes(0, SIZE, { mayUnmap: true })
      await node.write(12_345, pattern(100))
      const expected = new Uint8Array(SIZE)
      expected.set(pattern(100), 12_345)
      expectSame(await toBytes(node), expected)
    })
  })

  describe('discards', () => {
    it.each(RANGES)('at %i, change at most %i bytes', async (offset, length) => {
      const [node, content] = await full()
      await node.discard(offset, length)
      if (discard === 'zeroes') content.fill(0, offset, offset + length)
      else content.set(await readBack(node, offset, length), offset)
      expectSame(await toBytes(node), content)
    })

    it('leave a disk that can be written again', async () => {
      const [node] = await full()
      await node.discard(0, SIZE)
      await node.write(0, pattern(SIZE, 5))
      expectSame(await toBytes(node), pattern(SIZE, 5))
    })
  })
}
