/** Requests, slices and the life of a disk, on disks in memory. */
import { type Disk, DriverRegistry, denyHost, formatImage, memory, openNode } from '@vmblock/block-core'
import { createRandom } from '@vmblock/block-core/testing'
import { formats } from '@vmblock/formats'
import { afterEach, describe, expect, it } from 'vitest'
import { VirtualDisk } from './virtual-disk.ts'

const SIZE = 2 ** 20
const environment = { registry: new DriverRegistry([...formats, memory]), host: denyHost }
const refused = (name: string) => ({ code: 'EINVAL', message: expect.stringContaining(`'${name}'`) })

const open: VirtualDisk[] = []
async function newDisk(options: object = {}): Promise<VirtualDisk> {
  const node = await openNode(environment, {
    driver: 'raw',
    file: { driver: 'memory', size: SIZE },
    discard: 'unmap',
    ...options,
  })
  const disk = new VirtualDisk({ node, ownsNode: true, environment })
  open.push(disk)
  return disk
}
afterEach(async () => {
  for (const disk of open.splice(0).reverse()) await disk.close()
})

describe('compacting', () => {
  it('makes the image file shorter, and reports how far it is', async () => {
    const file = await openNode(environment, { driver: 'memory' })
    const qcow2 = environment.registry.get('qcow2')
    await formatImage(qcow2, file, { size: SIZE })
    const disk = await newDisk({ driver: 'qcow2', file })
    await disk.write(0, new Uint8Array(SIZE).fill(7))
    await disk.discard(0, SIZE / 2)
    await disk.flush()
    const before = file.size
    const told: number[] = []
    const report = await disk.compact({ onProgress: ({ done }) => told.push(done) })
    expect(report).toEqual({
      sizeBefore: before,
      sizeAfter: before - SIZE / 2,
      movedBytes: SIZE / 2,
      leftBytes: 0,
    })
    expect(file.size).toBe(report.sizeAfter)
    expect(told.at(-1)).toBe(SIZE / 2)
    expect((await disk.read(SIZE / 2 - 1, 2)).join()).toBe('0,7')
    const signal = AbortSignal.abort(new Error('enough'))
    await expect(disk.compact({ signal })).rejects.toThrow('enough')
    await expect(disk.compact({ force: true } as never)).rejects.toMatchObject(refused('options'))
    await expect((await newDisk()).compact()).rejects.toMatchObject({ code: 'ENOTSUP' })
  })
})

describe('requests', () => {
  it('read into a new array, and into one that is given', async () => {
    const disk = await newDisk()
    const bytes = createRandom(1).bytes(1000)
    await disk.write(123, bytes)
    expect(await disk.read(123, 1000)).toEqual(bytes)
    const into = new Uint16Array(500)
    expect(await disk.read(123, into)).toBe(into)
    expect(new Uint8Array(into.buffer)).toEqual(bytes)
    expect(await disk.read(SIZE, 0)).toEqual(new Uint8Array(0))
  })

  it('zero, discard, flush and resize', async () => {
    const disk = await newDisk()
    await disk.write(0, new Uint8Array(SIZE).fill(1))
    await disk.writeZeroes(100, 50)
    expect((await disk.read(99, 52)).join('')).toBe(`1${'0'.repeat(50)}1`)
    await disk.discard(0, SIZE)
    expect((await disk.read(0, 1))[0]).toBe(0)
    await disk.flush()
    await disk.resize('2M')
    expect(disk.size).toBe(2 * SIZE)
    await expect(disk.resize(SIZE)).rejects.toMatchObject({
      code: 'EINVAL',
      message: expect.stringContaining('shrink'),
    })
    expect(disk.size).toBe(2 * SIZE)
    await disk.resize(SIZE, { shrink: true })
    expect(disk.size).toBe(SIZE)
  })

  it('of nonsense sizes make no arrays', async () => {
    const disk = await newDisk()
    const outside = { code: 'EIO', message: expect.stringContaining('is outside') }
    for (const [offset, bytes] of [
      [0, SIZE + 1],
      [0, Number.MAX_SAFE_INTEGER],
      [Number.MAX_SAFE_INTEGER, 1],
      [SIZE, 1],
    ] as const)
      await expect(disk.read(offset, bytes)).rejects.toMatchObject(outside)
    await disk.resize('1P')
    await expect(disk.read(0, 2 ** 49)).rejects.toMatchObject({ code: 'ENOMEM' })
    for (const bytes of [-1, 1.5, Number.NaN, Number.POSITIVE_INFINITY])
      await expect(disk.read(0, bytes)).rejects.toMatchObject(refused('bytes'))
    for (const offset of [-1, 1.5, Number.NaN, '0', 0n, undefined])
      await expect(disk.read(offset as number, 1)).rejects.toMatchObject(refused('offset'))
  })

  it('refuse arguments of other types, and in another order, and name them', async () => {
    const disk = await newDisk()
    const bytes = new Uint8Array(512)
    await expect(disk.read(bytes as never, 0)).rejects.toMatchObject(refused('offset'))
    await expect(disk.read(0, 'x' as never)).rejects.toMatchObject(refused('into'))
    await expect(disk.write(bytes as never, 0 as never)).rejects.toMatchObject({ code: 'EINVAL' })
    await expect(disk.write(0, 'text' as never)).rejects.toMatchObject(refused('from'))
    await expect(disk.writeZeroes(0, '512' as never)).rejects.toMatchObject(refused('bytes'))
    await expect(disk.discard(0, undefined as never)).rejects.toMatchObject(refused('bytes'))
    for (const size of ['much', '+1M', ' -1M', -1, 1.5, {}, undefined])
      await expect(disk.resize(size as never)).rejects.toMatchObject(refused('size'))
    expect(() => disk.on('resize', 1 as never)).toThrow(expect.objectContaining(refused('listener')))
    for (const event of [1, 'resized'])
      expect(() => disk.on(event as never, () => undefined)).toThrow(
        expect.objectContaining(refused('event')),
      )
  })

  it('are told of by events', async () => {
    const disk = await newDisk()
    const sizes: number[] = []
    const end = disk.on('resize', (size) => sizes.push(size))
    await disk.resize(2 * SIZE)
    end()
    await disk.resize(SIZE, { shrink: true })
    expect(sizes).toEqual([2 * SIZE])
  })
})

describe('a slice', () => {
  it('is a window of the disk', async () => {
    const disk = await newDisk()
    await using part = await disk.slice(4096, 8192)
    expect([part.size, part.format, part.readOnly]).toEqual([4096, 'raw', false])
    await part.write(0, Uint8Array.of(7))
    expect(await disk.read(4096, 1)).toEqual(Uint8Array.of(7))
    await disk.write(8191, Uint8Array.of(8))
    expect(await part.read(4095, 1)).toEqual(Uint8Array.of(8))
    await expect(part.write(4096, Uint8Array.of(9))).rejects.toMatchObject({ code: 'EIO' })
    await using inner = await part.slice(512, 1024)
    await inner.write(0, Uint8Array.of(5))
    expect(await disk.read(4608, 1)).toEqual(Uint8Array.of(5))
    await expect(part.resize(8192)).rejects.toMatchObject({ code: 'ENOTSUP' })
    await inner.close()
    await disk.resize(6144, { shrink: true })
    await expect(part.read(0, 4096)).rejects.toMatchObject({ code: 'EIO' })
    expect((await part.read(0, 2048))[512]).toBe(5)
  })

  it('keeps the disk open until it is closed', async () => {
    const disk = await newDisk()
    const part = await disk.slice(0)
    expect(part.size).toBe(SIZE)
    await expect(disk.close()).rejects.toMatchObject({ code: 'EBUSY' })
    expect(disk.isOpen).toBe(true)
    await disk.write(0, Uint8Array.of(1))
    await part.close()
    expect(disk.isOpen).toBe(true)
    await disk.close()
    expect(disk.isOpen).toBe(false)
  })

  it('of a read-only disk is read-only', async () => {
    const disk = await newDisk({ readOnly: true })
    await using part = await disk.slice(0, 512)
    expect(part.readOnly).toBe(true)
    await expect(part.write(0, new Uint8Array(512))).rejects.toMatchObject({ code: 'EPERM' })
  })

  it('has bounds inside the disk, and whole sectors', async () => {
    const disk = await newDisk()
    await expect(disk.slice(0, SIZE + 512)).rejects.toMatchObject(refused('end'))
    await expect(disk.slice(1024, 512)).rejects.toMatchObject(refused('start'))
    await expect(disk.slice(0, 100)).rejects.toMatchObject(refused('end'))
    await expect(disk.slice('0' as never)).rejects.toMatchObject(refused('start'))
    await expect(disk.slice(0, null as never)).rejects.toMatchObject(refused('end'))
  })
})

describe('a closed disk', () => {
  const USES: readonly [string, (disk: VirtualDisk) => unknown][] = [
    ['read', (disk) => disk.read(0, 1)],
    ['read into', (disk) => disk.read(0, new Uint8Array(1))],
    ['write', (disk) => disk.write(0, new Uint8Array(1))],
    ['writeZeroes', (disk) => disk.writeZeroes(0, 1)],
    ['discard', (disk) => disk.discard(0, 1)],
    ['flush', (disk) => disk.flush()],
    ['resize', (disk) => disk.resize(512)],
    ['extents', async (disk) => disk.extents()],
    ['readable', async (disk) => disk.readable()],
    ['writable', async (disk) => disk.writable()],
    ['slice', (disk) => disk.slice(0, 512)],
    ['info', (disk) => disk.info()],
    ['check', (disk) => disk.check()],
    ['commit', (disk) => disk.commit()],
  ]

  it.each(USES)('refuses %s', async (_, use) => {
    const disk = await newDisk()
    await disk.close()
    await expect(use(disk)).rejects.toMatchObject({ code: 'ENOMEDIUM' })
  })

  it('is closed once, however often, and by `await using`', async () => {
    let kept: VirtualDisk
    {
      await using disk = await newDisk()
      kept = disk
      await Promise.all([disk.close(), disk.close()])
    }
    await kept.close()
    expect([kept.isOpen, kept.node.isOpen]).toEqual([false, false])
  })

  it('leaves a node open that it does not own', async () => {
    const owner = await newDisk()
    const disk = new VirtualDisk({ node: owner.node as Disk, ownsNode: false, environment })
    await disk.close()
    expect([disk.isOpen, owner.isOpen]).toEqual([false, true])
    await expect(disk.read(0, 1)).rejects.toMatchObject({ code: 'ENOMEDIUM' })
  })
})
