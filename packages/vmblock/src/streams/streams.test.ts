/** Streams and walks over a disk: content, back pressure, and every way to end early. */
import {
  BlockError,
  type BlockNode,
  blkdebug,
  DriverRegistry,
  denyHost,
  memory,
  openNode,
} from '@vmblock/block-core'
import { opsOf } from '@vmblock/block-core/driver'
import { createRandom } from '@vmblock/block-core/testing'
import { formats } from '@vmblock/formats'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { type Extent, walkExtents } from './extents.ts'
import { readableOf } from './readable.ts'
import { writableOf } from './writable.ts'

const KIB = 1024
const SIZE = 1000 * KIB
const CONTENT = createRandom(3).bytes(SIZE)
const environment = { registry: new DriverRegistry([...formats, memory, blkdebug]), host: denyHost }
const refused = (name: string) =>
  expect.objectContaining({ code: 'EINVAL', message: expect.stringContaining(`'${name}'`) })

const open: BlockNode[] = []
async function newDisk(content = CONTENT): Promise<BlockNode> {
  const node = await openNode(environment, { driver: 'raw', file: { driver: 'memory', size: SIZE } })
  open.push(node)
  await node.write(0, content)
  return node
}
afterEach(async () => {
  vi.restoreAllMocks()
  for (const node of open.splice(0)) await node.close()
})

async function bytesOf(stream: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<Uint8Array> {
  return new Uint8Array(await new Response(stream).arrayBuffer())
}

/** Where two disks differ, in bytes; undefined: nowhere. Matchers take seconds for so many bytes. */
function difference(one: Uint8Array, other: Uint8Array): number | undefined {
  if (one.length !== other.length) return Math.min(one.length, other.length)
  const at = one.findIndex((byte, index) => byte !== other[index])
  return at === -1 ? undefined : at
}

async function contentOf(node: BlockNode): Promise<Uint8Array> {
  const content = new Uint8Array(node.size)
  await node.read(0, content)
  return content
}

/** Holds requests of a node back until they are let go. */
function held(node: BlockNode, method: 'read' | 'write' | 'flush') {
  const waiting: (() => void)[] = []
  const real = node[method].bind(node) as (...values: unknown[]) => Promise<void>
  const spy = vi.spyOn(node, method).mockImplementation((async (...values: unknown[]) => {
    await new Promise<void>((resolve) => waiting.push(resolve))
    return real(...values)
  }) as never)
  const release = (): void => {
    for (const go of waiting.splice(0)) go()
  }
  return { spy, release }
}

const settled = () => new Promise((resolve) => setImmediate(resolve))

describe('a readable stream', () => {
  it('is the disk, or a part of it, in chunks', async () => {
    const node = await newDisk()
    expect(difference(await bytesOf(readableOf(node, {})), CONTENT)).toBe(undefined)
    const part = await bytesOf(readableOf(node, { start: 1001, end: 77_777, chunkSize: 4096 }))
    expect(difference(part, CONTENT.subarray(1001, 77_777))).toBe(undefined)
    expect(await bytesOf(readableOf(node, { start: SIZE }))).toEqual(new Uint8Array(0))
    const lengths: number[] = []
    const reader = readableOf(node, { end: 10_000, chunkSize: 4096 }).getReader()
    for (let next = await reader.read(); !next.done; next = await reader.read())
      lengths.push(next.value.length)
    expect(lengths).toEqual([4096, 4096, 1808])
  })

  it('reads nothing before it is read, and then one piece ahead', async () => {
    const node = await newDisk()
    const read = vi.spyOn(node, 'read')
    const reader = readableOf(node, { chunkSize: 100 * KIB }).getReader()
    await settled()
    expect(read).toHaveBeenCalledTimes(0)
    await reader.read()
    await settled()
    expect(read).toHaveBeenCalledTimes(2)
    await reader.read()
    await settled()
    expect(read).toHaveBeenCalledTimes(3)
    await reader.cancel()
  })

  it('ends at once when it is cancelled, and reads no more', async () => {
    const node = await newDisk()
    const { spy, release } = held(node, 'read')
    const reader = readableOf(node, { chunkSize: 4096 }).getReader()
    const first = reader.read()
    await settled()
    await reader.cancel()
    expect(await first).toEqual({ done: true, value: undefined })
    release()
    await settled()
    expect(spy).toHaveBeenCalledTimes(2)
  })

  it('ends at once with the reason of its signal, and leaves the signal', async () => {
    const node = await newDisk()
    held(node, 'read')
    const abort = new AbortController()
    const ended = vi.spyOn(abort.signal, 'removeEventListener')
    const reader = readableOf(node, { signal: abort.signal }).getReader()
    const first = reader.read()
    abort.abort(new Error('enough'))
    await expect(first).rejects.toThrow('enough')
    expect(ended).toHaveBeenCalled()
    const late = readableOf(node, { signal: abort.signal })
    await expect(bytesOf(late)).rejects.toThrow('enough')
  })

  it('fails with the error of the disk', async () => {
    const node = await newDisk()
    vi.spyOn(node, 'read').mockRejectedValueOnce(new BlockError('EIO', 'broken'))
    await expect(bytesOf(readableOf(node, {}))).rejects.toMatchObject({ code: 'EIO' })
    const reader = readableOf(node, { chunkSize: 4096 }).getReader()
    await reader.read()
    await node.close()
    await reader.read()
    await expect(reader.read()).rejects.toMatchObject({ code: 'ENOMEDIUM' })
  })

  it('refuses options that make no sense, by name', async () => {
    const node = await newDisk()
    const make = (options: object) => () => readableOf(node, options)
    expect(make({ start: -1 })).toThrow(refused('start'))
    expect(make({ end: SIZE + 1 })).toThrow(refused('end'))
    expect(make({ start: 2, end: 1 })).toThrow(refused('start'))
    expect(make({ chunkSize: 0 })).toThrow(refused('chunkSize'))
    expect(make({ signal: {} })).toThrow(refused('signal'))
    expect(make({ chunksize: 1 })).toThrow(refused('chunksize'))
    expect(make(1 as never)).toThrow(refused('options'))
  })
})

describe('a writable stream', () => {
  it('writes chunks of any form in order, from its start', async () => {
    const node = await newDisk()
    const writer = writableOf(node, { start: 100 }).getWriter()
    await writer.write(Uint8Array.of(1, 2))
    await writer.write(new DataView(Uint8Array.of(3, 4).buffer))
    await writer.write(Uint16Array.of(0x0605))
    await writer.write(Uint8Array.of(7).buffer)
    await writer.write(new Uint8Array(0))
    const flush = vi.spyOn(node, 'flush')
    await writer.close()
    expect(flush).toHaveBeenCalledTimes(1)
    const content = new Uint8Array(9)
    await node.read(99, content)
    expect([...content]).toEqual([CONTENT[99], 1, 2, 3, 4, 5, 6, 7, CONTENT[107]])
  })

  it('tells its writer to wait, and writes one chunk at a time', async () => {
    const node = await newDisk()
    const { spy, release } = held(node, 'write')
    const writer = writableOf(node, {}).getWriter()
    expect(writer.desiredSize).toBe(2 ** 20)
    const chunks = [1, 2, 3].map(() => writer.write(new Uint8Array(300 * KIB)))
    expect(writer.desiredSize).toBe(2 ** 20 - 900 * KIB)
    await settled()
    expect(spy).toHaveBeenCalledTimes(1)
    for (let round = 0; round < 3; round++) {
      release()
      await settled()
    }
    await Promise.all(chunks)
    await writer.close()
  })

  it('writes nothing of a chunk that would go beyond its end', async () => {
    const node = await newDisk()
    const writer = writableOf(node, { start: 1000, end: 1010 }).getWriter()
    await writer.write(new Uint8Array(6))
    await expect(writer.write(new Uint8Array(5))).rejects.toMatchObject({ code: 'ENOSPC' })
    await expect(writer.closed).rejects.toMatchObject({ code: 'ENOSPC' })
    const expected = CONTENT.slice()
    expected.fill(0, 1000, 1006)
    expect(difference(await contentOf(node), expected)).toBe(undefined)
  })

  it.each([['text'], [[1, 2]], [5], [null], [undefined], [{ byteLength: 'x' }], [{ byteLength: -1 }]])(
    'refuses the chunk %j',
    async (chunk) => {
      const node = await newDisk()
      const writer = writableOf(node, {}).getWriter()
      await expect(writer.write(chunk as never)).rejects.toEqual(refused('chunk'))
      await writer.closed.catch(() => undefined)
    },
  )

  it('ends at once when it is aborted, by its writer or its signal', async () => {
    const node = await newDisk()
    const { release } = held(node, 'write')
    const abort = new AbortController()
    const ended = vi.spyOn(abort.signal, 'removeEventListener')
    const first = writableOf(node, { signal: abort.signal }).getWriter()
    const write = first.write(new Uint8Array(10))
    await settled()
    abort.abort(new Error('enough'))
    await expect(write).rejects.toThrow('enough')
    await expect(first.closed).rejects.toThrow('enough')
    expect(ended).toHaveBeenCalled()
    const second = writableOf(node, {}).getWriter()
    const failed = second.closed.catch((error: unknown) => error)
    const other = second.write(new Uint8Array(10)).catch((error: unknown) => error)
    await settled()
    await second.abort(new Error('no more'))
    expect(await failed).toEqual(new Error('no more'))
    expect(await other).toEqual(new Error('no more'))
    release()
    await settled()
  })

  it('fails with the error of the disk, of a write or of the last flush', async () => {
    const node = await newDisk()
    vi.spyOn(node, 'write').mockRejectedValueOnce(new BlockError('EIO', 'broken'))
    const writer = writableOf(node, {}).getWriter()
    await expect(writer.write(new Uint8Array(1))).rejects.toMatchObject({ code: 'EIO' })
    await writer.closed.catch(() => undefined)
    vi.spyOn(node, 'flush').mockRejectedValueOnce(new BlockError('EIO', 'broken'))
    const other = writableOf(node, {}).getWriter()
    other.closed.catch(() => undefined)
    await expect(other.close()).rejects.toMatchObject({ code: 'EIO' })
  })

  it('goes to no read-only disk', async () => {
    const node = await openNode(environment, {
      driver: 'raw',
      readOnly: true,
      file: { driver: 'memory', size: 512 },
    })
    open.push(node)
    expect(() => writableOf(node, {})).toThrow(expect.objectContaining({ code: 'EPERM' }))
  })

  it('takes what a stream was turned into, and back', async () => {
    const [from, to] = [await newDisk(), await newDisk(new Uint8Array(SIZE))]
    await readableOf(from, { chunkSize: 5000 })
      .pipeThrough(new CompressionStream('gzip'))
      .pipeThrough(new DecompressionStream('gzip') as never)
      .pipeTo(writableOf(to, {}))
    expect(difference(await contentOf(to), CONTENT)).toBe(undefined)
  })
})

describe('extents', () => {
  async function overlay() {
    const base = await openNode(environment, { driver: 'raw', file: { driver: 'memory', size: 512 * KIB } })
    await base.write(0, new Uint8Array(128 * KIB).fill(1))
    return base
  }
  async function extentsOf(node: BlockNode, start = 0, end = node.size): Promise<Extent[]> {
    const found: Extent[] = []
    for await (const extent of walkExtents(node, { start, end }, undefined)) found.push(extent)
    return found
  }

  it('join neighbours, and cover the range without gaps', async () => {
    const node = await overlay()
    open.push(node)
    await node.write(192 * KIB, new Uint8Array(64 * KIB).fill(2))
    expect(await extentsOf(node)).toEqual([
      { offset: 0, bytes: 128 * KIB, kind: 'data', layer: 0 },
      { offset: 128 * KIB, bytes: 64 * KIB, kind: 'zero', layer: 0 },
      { offset: 192 * KIB, bytes: 64 * KIB, kind: 'data', layer: 0 },
      { offset: 256 * KIB, bytes: 256 * KIB, kind: 'zero', layer: 0 },
    ])
    expect(await extentsOf(node, 1000, 1001)).toEqual([{ offset: 1000, bytes: 1, kind: 'data', layer: 0 }])
    expect(await extentsOf(node, 5, 5)).toEqual([])
  })

  it('end with the signal, also while a driver is asked', async () => {
    const node = await overlay()
    open.push(node)
    const abort = new AbortController()
    const walk = walkExtents(node, { start: 0, end: node.size }, abort.signal)
    await walk.next()
    abort.abort(new Error('enough'))
    await expect(walk.next()).rejects.toThrow('enough')
    const slow = new AbortController()
    vi.spyOn(opsOf(node), 'blockStatus').mockReturnValue(new Promise(() => undefined))
    const other = walkExtents(node, { start: 0, end: node.size }, slow.signal).next()
    await settled()
    slow.abort(new Error('too slow'))
    await expect(other).rejects.toThrow('too slow')
    vi.restoreAllMocks()
    open.length = 0
    await node.crash()
  })

  it('end with a disk that shrinks meanwhile', async () => {
    const node = await overlay()
    open.push(node)
    const walk = walkExtents(node, { start: 0, end: node.size }, undefined)
    await node.truncate(64 * KIB)
    expect(await walk.next()).toMatchObject({ value: { offset: 0, bytes: 64 * KIB } })
    expect(await walk.next()).toMatchObject({ done: true })
  })
})
