import { describe, expect, it } from 'vitest'
import { storage } from '../contract/child-kinds.ts'
import { defineDriver } from '../contract/driver.ts'
import { denyHost } from '../contract/image-resolver.ts'
import type { BlockNode } from '../contract/node.ts'
import { DriverRegistry } from '../contract/registry.ts'
import { findNode } from '../graph/environment.ts'
import { opsOf } from '../graph/node-internals.ts'
import { openNode } from '../open/open.ts'
import { reopenNode } from '../open/reopen.ts'
import { createRandom } from '../testing/random.ts'
import { blkdebug } from './blkdebug.ts'
import { memory, openMemory } from './memory.ts'
import { forwardOps } from './pass-through.ts'
import { preallocate } from './preallocate.ts'

/** A format whose disk is its file, which it writes and resizes. */
const plain = defineDriver({
  name: 'plain',
  kind: 'format',
  children: { file: storage },
  open: async ({ requireChild }) => forwardOps(await requireChild('file')),
})

const KIB = 1024
const OPTIONS = { preallocAlign: 4 * KIB, preallocSize: 64 * KIB }

async function open(file: BlockNode | object, options: object = OPTIONS, above: object = {}) {
  const environment = {
    registry: new DriverRegistry([memory, blkdebug, preallocate, plain]),
    host: denyHost,
  }
  const filter = { driver: 'preallocate', nodeName: 'filter', file, ...options }
  const disk = await openNode(environment, {
    driver: 'plain',
    discard: 'unmap',
    file: filter,
    ...above,
  } as never)
  return { disk, filter: findNode(environment, 'filter'), environment }
}

describe('preallocate', () => {
  it('lets the file grow ahead of what is written, and cuts it off when it is closed', async () => {
    const file = openMemory(new Uint8Array(1000))
    const { disk, filter } = await open(file)
    await disk.write(0, new Uint8Array(1000).fill(1))
    expect([disk.size, file.size]).toEqual([1000, 1000])
    await disk.write(990, new Uint8Array(20).fill(2))
    expect([disk.size, filter.size, file.size]).toEqual([1010, 1010, 68 * KIB])
    await disk.write(50 * KIB, new Uint8Array(20).fill(3))
    expect([disk.size, file.size]).toEqual([50 * KIB + 20, 68 * KIB])
    await disk.write(70 * KIB, new Uint8Array(1).fill(4))
    expect(file.size).toBe(136 * KIB)
    await disk.close()
    expect(file.size).toBe(70 * KIB + 1)
    const byte = new Uint8Array(1)
    for (const [at, value] of [
      [999, 2],
      [1009, 2],
      [1010, 0],
      [50 * KIB, 3],
      [70 * KIB, 4],
    ] as const) {
      await file.read(at, byte)
      expect([at, byte[0]]).toEqual([at, value])
    }
  })

  it.each([1, 2, 3, 4, 5])(
    'leaves the file as it would be without it, with many writes at once, seed %i',
    async (seed) => {
      const random = createRandom(seed)
      const file = openMemory(new Uint8Array(0))
      const { disk } = await open(file)
      let expected = new Uint8Array(0)
      const grow = (size: number): void => {
        const before = expected
        expected = new Uint8Array(size)
        expected.set(before.subarray(0, size))
      }
      for (let round = 0; round < 25; round++) {
        const writes: Promise<void>[] = []
        // Ranges that do not overlap: the order of writes in flight is open.
        let at = random.int(0, expected.length + 1)
        for (let i = random.int(1, 6); i > 0; i--) {
          const bytes = random.int(1, 30_000)
          const data = random.chance(0.3) ? new Uint8Array(bytes) : random.bytes(bytes)
          if (at + bytes > expected.length) grow(at + bytes)
          expected.set(data, at)
          writes.push(
            data[0] === 0
              ? disk.writeZeroes(at, bytes, { mayUnmap: random.chance(0.5) })
              : disk.write(at, data),
          )
          at += bytes + (random.chance(0.5) ? 0 : random.int(0, 5000))
        }
        await Promise.all(writes)
        expect(disk.size).toBe(expected.length)
        const into = new Uint8Array(expected.length)
        await disk.read(0, into)
        expect(Buffer.compare(into, expected)).toBe(0)
        if (random.chance(0.2)) {
          const size = random.int(0, expected.length + 100_000)
          await disk.truncate(size)
          grow(size)
        }
        if (random.chance(0.1))
          await reopenNode(disk, { readOnly: true }).then(() => expect(file.size).toBe(expected.length))
        if (disk.readOnly) await reopenNode(disk, { readOnly: false })
      }
      await disk.close()
      expect(file.size).toBe(expected.length)
    },
  )

  it('writes zeroes beyond the end by preallocating them', async () => {
    const file = openMemory(new Uint8Array(0))
    const { disk } = await open(file)
    const ops = opsOf(file)
    const asked: number[] = []
    const { writeZeroes } = ops
    Object.assign(ops, {
      writeZeroes: (...args: Parameters<NonNullable<typeof writeZeroes>>) => {
        asked.push(args[1])
        return writeZeroes!(...args)
      },
    })
    await disk.writeZeroes(0, 4096)
    await disk.writeZeroes(4096, 4096)
    expect([asked, disk.size]).toEqual([[68 * KIB], 8192])
    await disk.write(8192, Uint8Array.of(1))
    await disk.writeZeroes(8192, 1)
    const byte = Uint8Array.of(5)
    await disk.read(8192, byte)
    expect(byte[0]).toBe(0)
  })

  it('does nothing where the user above does not resize', async () => {
    const environment = { registry: new DriverRegistry([memory, preallocate]), host: denyHost }
    const file = openMemory(new Uint8Array(1000))
    const disk = await openNode(environment, { driver: 'preallocate', ...OPTIONS, file } as never)
    await disk.write(1000, Uint8Array.of(1))
    expect([disk.size, file.size]).toEqual([1001, 1001])
    const { disk: other, filter } = await open(openMemory(new Uint8Array(10)), OPTIONS, { readOnly: true })
    expect([other.readOnly, filter.size]).toEqual([true, 10])
  })

  it('writes on where the file cannot grow ahead', async () => {
    const rule = { event: 'none', iotype: 'write-zeroes', errno: 28, immediately: true, once: false }
    const file = openMemory(new Uint8Array(100))
    const { disk } = await open({ driver: 'blkdebug', image: file, 'inject-error': [rule] })
    for (const at of [100, 5000, 70_000]) await disk.write(at, Uint8Array.of(9))
    expect(file.size).toBe(70_001)
    await expect(disk.writeZeroes(80_000, 10)).rejects.toMatchObject({ code: 'ENOSPC' })
    await disk.close()
    expect(file.size).toBe(70_001)
  })

  it('keeps the file to itself while it grows, and changes its options with a reopen', async () => {
    const { disk, environment } = await open({ driver: 'memory', size: 1000, nodeName: 'file' })
    const other = { driver: 'plain', file: 'file' }
    await expect(openNode(environment, other as never)).rejects.toMatchObject({ code: 'EBUSY' })
    await reopenNode(disk, { options: { file: { preallocSize: 0, preallocAlign: 512 } } })
    await disk.write(1000, Uint8Array.of(1))
    expect(findNode(environment, 'file').size).toBe(1024)
    await expect(reopenNode(disk, { options: { file: { preallocAlign: 100 } } })).rejects.toThrow(
      'prealloc-align parameter of preallocate filter is not aligned to 512',
    )
  })

  it('drops what it preallocated when its user stops writing, and knows the length again afterwards', async () => {
    const file = openMemory(new Uint8Array(1000))
    const { disk, environment, filter } = await open(file)
    const holder = await openNode(environment, {
      driver: 'plain',
      readOnly: true,
      file: 'filter',
      forceShare: true,
    } as never)
    await disk.write(2000, Uint8Array.of(1))
    expect(file.size).toBeGreaterThan(60_000)
    await disk.close()
    await filter.flush()
    await new Promise((resolve) => setImmediate(resolve))
    expect([filter.size, file.size]).toEqual([2001, 2001])
    await holder.close()
    expect(file.isOpen).toBe(true)
  })

  it.each([
    [{ preallocAlign: 1000 }, 'prealloc-align parameter of preallocate filter is not aligned to 512'],
    [{ 'prealloc-align': 'x' }, "Parameter 'prealloc-align' expects a non-negative number below 2^64"],
    [{ preallocSize: -1 }, "Parameter 'preallocSize' expects"],
    [{ preallocSize: '16E' }, 'preallocSize'],
    [{ foo: 1 }, "Block format 'preallocate' does not support the option 'foo'"],
    [{ file: undefined }, 'A block device must be specified for "file"'],
  ])('refuses %j', async (options, message) => {
    await expect(open(openMemory(new Uint8Array(0)), options)).rejects.toThrow(message)
  })
})
