import { describe, expect, it } from 'vitest'
import type { Clock } from '../base/clock.ts'
import { SparseBits } from '../base/sparse-bits.ts'
import { denyHost } from '../contract/image-resolver.ts'
import type { BlockNode } from '../contract/node.ts'
import { DriverRegistry } from '../contract/registry.ts'
import { openNode } from '../open/open.ts'
import { insertFilter, removeFilter } from '../open/rewire.ts'
import { nodeOf, toBytes } from '../testing/nodes.ts'
import { createRandom } from '../testing/random.ts'
import { blkdebug } from './blkdebug.ts'
import { copyBeforeWrite, createCopyBeforeWrite } from './copy-before-write.ts'
import { memory, openMemory } from './memory.ts'
import { snapshotAccess } from './snapshot-access.ts'

const CLUSTER = 65_536
const SIZE = 6 * CLUSTER + 1000

const environmentOf = (driver: ReturnType<typeof createCopyBeforeWrite> = copyBeforeWrite) => ({
  registry: new DriverRegistry([memory, blkdebug, driver, snapshotAccess]),
  host: denyHost,
})

async function open(
  content: Uint8Array,
  options: object = {},
  driver?: ReturnType<typeof createCopyBeforeWrite>,
) {
  const environment = environmentOf(driver)
  const source = openMemory(content)
  const disk = await openNode(environment, {
    driver: 'copy-before-write',
    nodeName: 'cbw',
    discard: 'unmap',
    file: source,
    target: { driver: 'memory', size: content.length, nodeName: 'target' },
    ...options,
  } as never)
  const then = await openNode(environment, {
    driver: 'snapshot-access',
    file: 'cbw',
    discard: 'unmap',
  } as never)
  return { disk, then, target: disk.children.get('target')!.node }
}

const isSame = async (node: BlockNode, expected: Uint8Array): Promise<boolean> =>
  Buffer.compare(await toBytes(node), expected) === 0

describe('copy-before-write', () => {
  it.each([1, 2, 3, 4])(
    'keeps what the disk held, while it is written and read by many, seed %i',
    async (seed) => {
      const random = createRandom(seed)
      const before = random.bytes(SIZE)
      before.fill(0, CLUSTER, 2 * CLUSTER)
      const now = before.slice()
      const { disk, then } = await open(before)
      for (let round = 0; round < 15; round++) {
        const work: Promise<unknown>[] = []
        let at = random.int(0, SIZE / 2)
        for (let i = random.int(1, 5); i > 0 && at < SIZE; i--) {
          const bytes = Math.min(random.int(1, CLUSTER), SIZE - at)
          const data = random.bytes(bytes)
          now.set(data, at)
          work.push(disk.write(at, data))
          if (random.chance(0.3)) {
            now.fill(0, at, at + bytes)
            const start = at
            work.push(work.pop()!.then(() => disk.writeZeroes(start, bytes)))
          }
          at += bytes
          const from = random.int(0, SIZE - 1)
          const into = new Uint8Array(Math.min(random.int(1, 2 * CLUSTER), SIZE - from))
          work.push(
            then
              .read(from, into)
              .then(() => expect(Buffer.compare(into, before.subarray(from, from + into.length))).toBe(0)),
          )
        }
        await Promise.all(work)
      }
      expect([await isSame(disk, now), await isSame(then, before)]).toEqual([true, true])
    },
  )

  it('copies whole clusters, once, and zeroes as zeroes', async () => {
    const content = new Uint8Array(SIZE).fill(7, 0, CLUSTER)
    const { disk, target, then } = await open(content)
    await disk.write(10, Uint8Array.of(1))
    await disk.write(CLUSTER, Uint8Array.of(1))
    await disk.write(20, Uint8Array.of(2))
    expect(await isSame(target, content)).toBe(true)
    expect(await target.blockStatus(CLUSTER, CLUSTER)).toMatchObject({ zero: true, data: false })
    await disk.discard(6 * CLUSTER, 1000)
    expect(await then.blockStatus(0, CLUSTER)).toMatchObject({ bytes: CLUSTER, allocated: true, zero: false })
    expect(await then.blockStatus(CLUSTER, CLUSTER)).toMatchObject({ bytes: CLUSTER, zero: true })
    expect(await isSame(then, content)).toBe(true)
    await then.close()
    await disk.close()
  })

  it('keeps what a smaller size cuts off, and nothing of what a larger one adds', async () => {
    const content = createRandom(5).bytes(SIZE)
    const { disk, then } = await open(content)
    await disk.truncate(100)
    await disk.truncate(SIZE + CLUSTER)
    await disk.write(SIZE, new Uint8Array(CLUSTER).fill(1))
    expect([then.size, await isSame(then, content)]).toEqual([SIZE, true])
  })

  it('lets a write wait for a read of the snapshot', async () => {
    const content = new Uint8Array(CLUSTER).fill(1)
    let release!: () => void
    const started = new Promise<void>((resolve) => {
      release = resolve
    })
    let reads = 0
    const source = nodeOf({
      size: () => CLUSTER,
      async read(_offset, into) {
        // The copy and the snapshot read the same; the snapshot's read comes first, and is held.
        if (reads++ === 0) await started
        into.set(content.subarray(0, into.length))
      },
      write: async (offset, from) => content.set(from, offset),
    })
    const { disk, then } = await open(content, { file: source })
    const into = new Uint8Array(8)
    const read = then.read(0, into)
    const log: string[] = []
    const write = disk.write(0, new Uint8Array(8).fill(2)).then(() => log.push('written'))
    await new Promise((resolve) => setTimeout(resolve, 0))
    log.push('released')
    release()
    await Promise.all([read, write])
    expect([log, [...into]]).toEqual([['released', 'written'], Array(8).fill(1)])
  })

  const FULL = { driver: 'blkdebug', nodeName: 'target', image: { driver: 'memory', size: SIZE } }
  const failing = (once: boolean) => ({
    ...FULL,
    'inject-error': [{ event: 'none', iotype: 'write', errno: 28, immediately: true, once }],
  })

  it('fails the write whose copy fails, and keeps the snapshot', async () => {
    const content = createRandom(1).bytes(SIZE)
    const { disk, then } = await open(content, { target: failing(true) })
    await expect(disk.write(0, Uint8Array.of(0))).rejects.toMatchObject({ code: 'ENOSPC' })
    expect(await isSame(disk, content)).toBe(true)
    await disk.write(0, Uint8Array.of(0))
    expect(await isSame(then, content)).toBe(true)
  })

  it('breaks the snapshot instead, if that is asked for', async () => {
    const content = createRandom(1).bytes(SIZE)
    const { disk, then } = await open(content, { target: failing(false), onCbwError: 'break-snapshot' })
    await then.read(0, new Uint8Array(1))
    await disk.write(0, Uint8Array.of(0))
    await expect(then.read(CLUSTER, new Uint8Array(1))).rejects.toMatchObject({ code: 'EACCES' })
    await disk.write(CLUSTER, Uint8Array.of(0))
    await expect(then.blockStatus(0, 1)).rejects.toMatchObject({ code: 'EACCES' })
  })

  it('waits for a copy no longer than cbw-timeout', async () => {
    const timers: (() => void)[] = []
    const clock: Clock = {
      now: () => 0,
      after(milliseconds, run) {
        expect(milliseconds).toBe(3000)
        timers.push(run)
        return () => void timers.splice(timers.indexOf(run), 1)
      },
    }
    let release!: () => void
    const held = new Promise<void>((resolve) => {
      release = resolve
    })
    const target = nodeOf({
      size: () => CLUSTER,
      read: async () => {},
      write: () => held,
      writeZeroes: () => held,
    })
    const { disk } = await open(
      new Uint8Array(CLUSTER).fill(1),
      { target, cbwTimeout: 3 },
      createCopyBeforeWrite(clock),
    )
    const write = disk.write(0, Uint8Array.of(2))
    write.catch(() => undefined)
    while (timers.length === 0) await new Promise((resolve) => setImmediate(resolve))
    timers[0]!()
    await expect(write).rejects.toMatchObject({ code: 'ETIMEDOUT' })
    release()
    await disk.write(0, Uint8Array.of(2))
    expect(timers).toEqual([])
  })

  it('keeps only what a bitmap says', async () => {
    const content = createRandom(1).bytes(SIZE)
    const source = openMemory(content, { name: 'source' })
    const info = { name: 'b', granularity: CLUSTER, enabled: true, inconsistent: false, inUse: true }
    const read = async () => ({ size: SIZE, ranges: () => [{ offset: CLUSTER, bytes: CLUSTER }] })
    const file = nodeOf(
      {
        size: () => SIZE,
        read: (offset, into) => source.read(offset, into),
        write: (offset, from) => source.write(offset, from),
        bitmaps: async () => ({ isSupported: true, list: async () => [info], read }) as never,
      },
      { name: 'format' },
    )
    const bitmap = { node: 'format', name: 'b' }
    const { disk, then, target } = await open(content, { file, bitmap })
    await disk.write(0, new Uint8Array(3 * CLUSTER))
    expect((await target.blockStatus(0, SIZE)).zero).toBe(true)
    const into = new Uint8Array(CLUSTER)
    await then.read(CLUSTER, into)
    expect(Buffer.compare(into, content.subarray(CLUSTER, 2 * CLUSTER))).toBe(0)
    await expect(then.read(CLUSTER - 1, new Uint8Array(2))).rejects.toMatchObject({ code: 'EACCES' })
    for (const [wrong, message] of [
      [{ node: 'x', name: 'b' }, "Node 'x' not found"],
      [{ node: 'format', name: 'x' }, "Dirty bitmap 'x' not found"],
      [{ node: 'format' }, "Parameter 'bitmap.name' is missing"],
    ] as const)
      await expect(
        open(content, { file: nodeOf({ ...file.ops }, { name: 'format' }), bitmap: wrong }),
      ).rejects.toThrow(message)
  })

  it('gives up what the user of the snapshot discards', async () => {
    const content = createRandom(1).bytes(SIZE)
    const { disk, then, target } = await open(content)
    await then.discard(0, 2 * CLUSTER - 1)
    await expect(then.read(0, new Uint8Array(1))).rejects.toMatchObject({ code: 'EACCES' })
    await then.read(CLUSTER, new Uint8Array(CLUSTER))
    await disk.write(0, Uint8Array.of(1))
    expect((await target.blockStatus(0, SIZE)).zero).toBe(true)
    await expect(then.write(0, Uint8Array.of(1))).rejects.toMatchObject({ code: 'ENOTSUP' })
    await expect(then.writeZeroes(0, 1)).rejects.toMatchObject({ code: 'ENOTSUP' })
    await expect(then.truncate(1)).rejects.toThrow('Image format driver does not support resize')
  })

  it('is put on a disk in use, and taken off again', async () => {
    const environment = environmentOf()
    const content = createRandom(2).bytes(SIZE)
    const source = openMemory(content)
    const disk = await openNode(environment, { driver: 'blkdebug', nodeName: 'disk', image: source } as never)
    const target = { driver: 'memory', size: SIZE }
    await insertFilter(disk, { driver: 'copy-before-write', nodeName: 'cbw', target } as never)
    const then = await openNode(environment, { driver: 'snapshot-access', file: 'cbw' } as never)
    await disk.write(0, new Uint8Array(SIZE))
    expect(await isSame(then, content)).toBe(true)
    await then.close()
    await removeFilter(disk)
    await disk.write(0, Uint8Array.of(1))
    await disk.close()
  })

  it.each([
    [{ target: undefined }, "Parameter 'target' is missing"],
    [{ file: undefined }, "Parameter 'file' is missing"],
    [{ onCbwError: 'x' }, "Parameter 'onCbwError' does not accept value 'x'"],
    [{ 'cbw-timeout': 'x' }, "Parameter 'cbw-timeout' expects integer"],
    [{ cbwTimeout: 2 ** 32 }, "Parameter 'cbwTimeout' expects uint32_t"],
    [{ cbwTimeout: 1.5 }, "Parameter 'cbwTimeout' expects integer"],
    [{ readOnly: true, file: { driver: 'memory' } }, 'Block node is read-only'],
    [{ foo: 1 }, "Block format 'copy-before-write' does not support the option 'foo'"],
  ])('refuses %j', async (options, message) => {
    await expect(open(new Uint8Array(512), options)).rejects.toThrow(message)
  })

  it('is what snapshot-access needs below it', async () => {
    const then = await openNode(environmentOf(), {
      driver: 'snapshot-access',
      file: openMemory(new Uint8Array(5)),
    } as never)
    await expect(then.read(0, new Uint8Array(1))).rejects.toMatchObject({ code: 'ENOTSUP' })
    expect(() => createCopyBeforeWrite(5 as never)).toThrow("Parameter 'clock' expects a clock")
  })
})

it('a sparse set of bits has what was added and not deleted', () => {
  const random = createRandom(1)
  const [bits, model] = [new SparseBits(), new Set<number>()]
  for (let i = 0; i < 3000; i++) {
    const index = random.pick([random.int(0, 100), random.int(32_700, 32_800), random.int(0, 2 ** 50)])
    for (const set of [bits, model]) {
      if (index % 3 > 0) set.add(index)
      else set.delete(index - 1)
    }
  }
  for (let i = 0; i < 40_000; i++) if (bits.has(i) !== model.has(i)) throw new Error(`bit ${i}`)
  for (const index of model) expect(bits.has(index)).toBe(true)
})
