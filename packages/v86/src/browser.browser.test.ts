/** The sources of disks in a browser, automatic flushes, and exports. */
import { BlockError, openNode } from '@vmblock/block-core'
import { indexedDb, opfs } from '@vmblock/block-core/browser'
import { createRandom, FOREIGN_FILES } from '@vmblock/block-core/testing'
import { afterEach, beforeEach, describe, expect, it, test } from 'vitest'
import { clearStorage, quota } from '../../../tests/support/origin-storage.ts'
import {
  type BrowserDiskOptions,
  type BrowserDiskSource,
  browserEnvironment,
  exportImage,
  v86Disk,
} from './browser.ts'
import type { V86Disk } from './machine/v86-disk.ts'
import { firstDifference } from './testing/slow-disk.ts'

const SIZE = 2 ** 20
const BASE = createRandom(1).bytes(SIZE)
const sector = (value: number): Uint8Array => new Uint8Array(512).fill(value)

let count = 0
const freshName = (): string => `v86-${count++}`

const open: V86Disk[] = []
async function openDisk(source: BrowserDiskSource, options?: BrowserDiskOptions): Promise<V86Disk> {
  const disk = await v86Disk(source, options)
  open.push(disk)
  return disk
}
afterEach(async () => {
  for (const disk of open.splice(0)) await disk.crash()
})

async function first(disk: V86Disk, at = 0): Promise<number> {
  const into = new Uint8Array(512)
  await disk.read(at, into)
  return into[0]!
}

/** Uploads bytes to the web server of the tests. */
async function served(bytes: Uint8Array): Promise<string> {
  const url = `/disks/${freshName()}`
  await fetch(url, { method: 'POST', body: new Uint8Array(bytes) })
  return url
}

const STORAGE = [
  [
    'opfs',
    (name: string) => ({ opfs: name }),
    (filename: string) => opfs.createFile!({ filename, lockTimeout: 0, worker: undefined }, 0, 'off'),
  ],
  [
    'indexeddb',
    (name: string) => ({ indexeddb: name }),
    (filename: string) => indexedDb.createFile!({ filename, lockTimeout: 1000 }, 0, 'off'),
  ],
] as const

/** Some formats that are recognized by the beginning of the file, or by its end. */
const FOREIGN = FOREIGN_FILES.filter(
  ([format, what]) => ['vmdk', 'vpc', 'gzip'].includes(format) && !what.includes('version'),
)

describe.each(FOREIGN)('a file of another format: %s, %s', (format, _, bytes) => {
  it('is not taken for a disk, wherever it is, nor for a base', async () => {
    const refused = { code: 'ENOTSUP', message: expect.stringContaining(`'${format}'`) }
    const sources: BrowserDiskSource[] = [
      new Blob([new Uint8Array(bytes)]),
      { url: await served(bytes) },
      { memory: bytes.slice() },
    ]
    for (const [, sourceOf, create] of STORAGE) {
      const name = freshName()
      await create(name)
      const [driver] = Object.keys(sourceOf(name))
      const node = await openNode(browserEnvironment(), { driver: driver!, filename: name })
      await node.write(0, bytes)
      await node.close()
      sources.push(sourceOf(name), { ...sourceOf(name), size: '1M' })
    }
    for (const source of sources) await expect(v86Disk(source)).rejects.toMatchObject(refused)
    const base = { url: await served(bytes) }
    await expect(v86Disk({ overlay: 'memory', base })).rejects.toMatchObject(refused)
    const overlay = { opfs: freshName() }
    await expect(v86Disk({ overlay, base })).rejects.toMatchObject(refused)
    await expect(v86Disk(overlay)).rejects.toMatchObject({ code: 'ENOENT' })
  })
})

/** The names of everything stored: all files of OPFS, except exports, and databases. */
async function stored(): Promise<string[]> {
  const names: string[] = []
  const list = async (folder: FileSystemDirectoryHandle, before: string): Promise<void> => {
    for await (const [name, handle] of (
      folder as unknown as { entries(): AsyncIterable<[string, FileSystemHandle]> }
    ).entries()) {
      if (name === '.vmblock-exports') continue
      names.push(before + name)
      if (handle.kind === 'directory') await list(handle as FileSystemDirectoryHandle, `${before}${name}/`)
    }
  }
  await list(await navigator.storage.getDirectory(), '')
  for (const { name } of await indexedDB.databases()) names.push(name!)
  return names.sort()
}

describe.each(STORAGE)('%s', (_, sourceOf, create) => {
  it('makes an image that is not there, and keeps one that is', async () => {
    const source = { ...sourceOf(freshName()), size: '16M' }
    const disk = await openDisk(source)
    await disk.write(3, sector(7))
    await disk.close()
    const again = await openDisk(source)
    expect([again.byteLength, await first(again, 3)]).toEqual([2 ** 24, 7])
    expect((await again.node.info()).formatSpecific?.data['lazy-refcounts']).toBe(true)
  })

  it('is not there unless a size is given, and can be made after a size that made no sense', async () => {
    const source = sourceOf(freshName())
    await expect(v86Disk(source)).rejects.toMatchObject({ code: 'ENOENT' })
    await expect(v86Disk({ ...source, size: 'much' })).rejects.toBeInstanceOf(BlockError)
    expect((await openDisk({ ...source, size: SIZE })).byteLength).toBe(SIZE)
  })

  describe('leaves nothing behind', () => {
    beforeEach(clearStorage)

    it.each([
      ['3T', 'EFBIG'],
      [0, 'EINVAL'],
      [1000, 'EINVAL'],
      [-512, 'EINVAL'],
      [Number.NaN, 'EINVAL'],
      ['much', 'EINVAL'],
    ])('of a size of %s', async (size, code) => {
      const source = sourceOf(freshName())
      await expect(v86Disk({ ...source, size })).rejects.toMatchObject({ code })
      await expect(v86Disk({ overlay: { ...source, size }, base: { memory: 512 } })).rejects.toMatchObject({
        code,
      })
      expect(await stored()).toEqual([])
    })

    it('of a disk that cannot be opened once it is made', async () => {
      const source = sourceOf(`folder/of/${freshName()}`)
      const wrong = { blockSize: 3 }
      await expect(v86Disk({ ...source, size: SIZE }, wrong)).rejects.toMatchObject({ code: 'EINVAL' })
      await expect(v86Disk({ ...source, size: SIZE, format: 'qed' })).rejects.toBeInstanceOf(Error)
      for (const memory of [3 * 2 ** 40, 0])
        await expect(v86Disk({ overlay: source, base: { memory } })).rejects.toBeInstanceOf(Error)
      expect(await stored()).toEqual([])
    })

    it('where there is no room for it', async () => {
      const source = sourceOf(freshName())
      await quota(1)
      try {
        await expect(v86Disk({ ...source, size: '1G' })).rejects.toMatchObject({ code: 'ENOSPC' })
      } finally {
        await quota()
      }
      expect(await stored()).toEqual([])
      expect((await openDisk({ ...source, size: SIZE })).byteLength).toBe(SIZE)
    })

    it('but what was there, and what was only begun', async () => {
      const [kept, begun] = [sourceOf(freshName()), freshName()]
      const disk = await openDisk({ ...kept, size: SIZE })
      await disk.write(3, sector(7))
      await disk.close()
      await create(begun)
      const before = await stored()
      for (const source of [kept, sourceOf(begun)])
        await expect(v86Disk({ ...source, size: SIZE }, { blockSize: 3 })).rejects.toMatchObject({
          code: 'EINVAL',
        })
      expect(await stored()).toEqual(before)
      expect(await first(await openDisk(kept), 3)).toBe(7)
      await expect(v86Disk(sourceOf(begun))).rejects.toMatchObject({ code: 'EINVAL' })
    })
  })

  it('is made in sourceOf of one that was only begun', async () => {
    const name = freshName()
    await create(name)
    await expect(v86Disk(sourceOf(name))).rejects.toMatchObject({ code: 'EINVAL' })
    expect((await openDisk({ ...sourceOf(name), size: SIZE })).byteLength).toBe(SIZE)
  })

  it('takes what is written over a picked file or a URL, and repairs itself after a sudden end', async () => {
    for (const base of [{ blob: new Blob([new Uint8Array(BASE)]) }, { url: await served(BASE) }]) {
      const source = { overlay: sourceOf(freshName()), base: { ...base, format: 'raw' } }
      const disk = await openDisk(source)
      await disk.write(1, sector(2))
      await disk.flush()
      expect([await first(disk, 0), await first(disk, 1)]).toEqual([BASE[0], 2])
      await disk.crash()
      const repairs: string[] = []
      const again = await openDisk(source, { onRepair: (__, name) => repairs.push(name) })
      expect([await first(again, 0), await first(again, 1), repairs.length]).toEqual([BASE[0], 2, 1])
      await again.close()
    }
  })

  it('is one tab’s at a time', async () => {
    const source = { ...sourceOf(freshName()), size: SIZE, lockTimeout: 50 }
    await openDisk(source)
    await expect(v86Disk(source)).rejects.toMatchObject({ code: 'EBUSY' })
  })
})

test('URLs, picked files, memory and options of nodes are disks', async () => {
  const url = await served(BASE)
  for (const source of [url, new URL(url, location.href), new Blob([new Uint8Array(BASE)])]) {
    const disk = await openDisk(source)
    expect([disk.byteLength, disk.readOnly, await first(disk, 5)]).toEqual([SIZE, true, BASE[5 * 512]])
  }
  for (const source of [{ memory: BASE.slice() }, { memory: SIZE }, { driver: 'null-co', size: SIZE }])
    expect((await openDisk(source)).byteLength).toBe(SIZE)
  const overlay = await openDisk({ overlay: 'memory', base: { url } })
  await overlay.write(5, sector(1))
  expect([await first(overlay, 5), overlay.node.backing?.node.readOnly]).toEqual([1, true])
  await expect(v86Disk({ file: 'disk.img' })).rejects.toMatchObject({ code: 'ENOTSUP' })
})

test('an emulator in a worker has its disk there', async () => {
  const name = freshName()
  const worker = new Worker(new URL('./testing/disk-worker.ts', import.meta.url), { type: 'module' })
  try {
    const said = new Promise<{ readonly file?: File; readonly error?: string }>((resolve) =>
      worker.addEventListener('message', ({ data }) => resolve(data)),
    )
    worker.postMessage(name)
    const { file, error } = await said
    expect(error).toBeUndefined()
    for (const source of [{ opfs: name }, { blob: file! }])
      expect(await first(await openDisk(source), 3)).toBe(7)
  } finally {
    worker.terminate()
  }
})

test('a disk that meets the quota stops, loses nothing, and goes on when there is room', async () => {
  const disk = await openDisk(
    { opfs: freshName(), size: '64M' },
    { flushInterval: 0, writeBuffer: 64 * SIZE },
  )
  await disk.flush()
  await quota(1)
  try {
    const stopped = new Promise<unknown>((resolve) => disk.once('stop', resolve))
    for (let at = 0; at < 32; at++) disk.writeSync(at * 2048, BASE)
    expect(await stopped).toMatchObject({ code: 'ENOSPC' })
    expect([disk.isStopped, disk.isDirty]).toEqual([true, true])
  } finally {
    await quota()
  }
  disk.resume()
  await disk.flush()
  const into = new Uint8Array(SIZE)
  for (let at = 0; at < 32; at++) {
    await disk.node.read(at * SIZE, into)
    expect(firstDifference(into, BASE)).toBe(-1)
  }
})

test('what is fetched ahead, kept and asked again is the source’s to say', async () => {
  const asked: string[] = []
  let failures = 0
  const answer: typeof fetch = async (input, init) => {
    asked.push(new Headers(init?.headers).get('range')!)
    return failures-- > 0 ? new Response('', { status: 503 }) : fetch(input, init)
  }
  const source = { url: await served(BASE), format: 'raw', fetch: answer }
  const disk = await openDisk({ ...source, readAhead: 0 }, { readAhead: 0 })
  for (let at = 0; at < 1024; at += 64) await first(disk, at)
  expect(asked.length).toBe(8)
  asked.length = 0
  const eager = await openDisk(source, { readAhead: 0 })
  for (let at = 0; at < 1024; at += 64) await first(eager, at)
  expect(asked.length).toBeLessThan(7)
  failures = 2
  expect(await first(await openDisk(source), 5)).toBe(BASE[5 * 512])
  failures = 1
  await expect(v86Disk({ ...source, retries: 0 })).rejects.toMatchObject({ code: 'EIO' })
})

test('an image names nothing, unless the resolver says what it means', async () => {
  const url = await served(BASE)
  const middle = await openDisk({ memory: SIZE })
  const image = await exportImage(middle, { format: 'qcow2' })
  const node = await openDisk({ overlay: { opfs: 'named' }, base: { blob: image.file } })
  const named = await exportImage(node, {
    format: 'as-is',
    backingFile: { name: 'base.raw', format: 'raw' },
  })
  await expect(v86Disk(named.file)).rejects.toMatchObject({ code: 'EACCES' })
  const host = { resolve: () => Promise.resolve({ driver: 'raw', file: { driver: 'http', url } }) }
  expect(await first(await openDisk(named.file, { host }), 5)).toBe(BASE[5 * 512])
  await Promise.all([image.remove(), named.remove()])
})

describe('leaving the page', () => {
  const hide = (): void => void dispatchEvent(new Event('pagehide'))
  const quiet = { flushInterval: 0 }
  const page = (globalThis as unknown as { document: EventTarget }).document

  it.each([
    ['pagehide', hide],
    ['visibilitychange', () => void page.dispatchEvent(new Event('visibilitychange'))],
    ['freeze', () => void page.dispatchEvent(new Event('freeze'))],
  ])('is a barrier: %s', async (_, leave) => {
    const disk = await openDisk({ memory: SIZE }, quiet)
    await disk.write(0, sector(1))
    const flushed = new Promise<void>((resolve) => disk.once('flushed', resolve))
    leave()
    await flushed
    expect(disk.isDirty).toBe(false)
  })

  it('is none where that is not wanted, and none of a disk that is closed', async () => {
    const disk = await openDisk({ memory: SIZE }, { ...quiet, flushOnHide: false })
    await disk.write(0, sector(1))
    hide()
    await disk.drain()
    expect([disk.isDirty, disk.statistics.flushes]).toEqual([true, 0])
    const closed = await openDisk({ memory: SIZE }, quiet)
    await closed.close()
    const { flushes } = closed.statistics
    hide()
    expect(closed.statistics.flushes).toBe(flushes)
  })
})

describe('an exported image', () => {
  const exportsThere = async (): Promise<string[]> => {
    const root = await navigator.storage.getDirectory()
    const folder = await root.getDirectoryHandle('.vmblock-exports', { create: true })
    const names: string[] = []
    for await (const name of (folder as unknown as { keys(): AsyncIterable<string> }).keys()) names.push(name)
    return names
  }

  it('is a file with a name, which holds the disk, and goes when it is told to', async () => {
    const disk = await openDisk({
      overlay: { opfs: freshName() },
      base: { url: await served(BASE), format: 'raw' },
    })
    await disk.write(1, sector(2))
    const seen = BASE.slice()
    seen.set(sector(2), 512)
    const raw = await exportImage(disk, { format: 'raw' })
    const bytes = new Uint8Array(await raw.file.arrayBuffer())
    expect([raw.file.name, bytes.length, firstDifference(bytes, seen)]).toEqual(['disk.raw', SIZE, -1])
    const whole = await exportImage(disk)
    const overlay = await exportImage(disk, { format: 'as-is' })
    expect([whole.file.name, overlay.file.name]).toEqual(['disk.qcow2', 'overlay.qcow2'])
    expect(overlay.file.size).toBeLessThan(whole.file.size)
    for (const source of [{ blob: whole.file }, { overlay: 'memory', base: { blob: whole.file } } as const])
      expect(await first(await openDisk(source), 1)).toBe(2)
    expect(await exportsThere()).toHaveLength(3)
    for (const image of [raw, whole, overlay]) await image.remove()
    expect(await exportsThere()).toEqual([])
  })

  it('of a format that there is not is refused', async () => {
    const disk = await openDisk({ memory: SIZE })
    const format = 'vhd' as 'raw'
    await expect(exportImage(disk, { format })).rejects.toMatchObject({ code: 'EINVAL' })
    expect(await exportsThere()).toEqual([])
  })

  it('that could not be made leaves nothing, and what a page left that is gone is removed', async () => {
    const disk = await openDisk({ opfs: freshName(), size: SIZE })
    await disk.write(0, BASE)
    const end = new AbortController()
    const onProgress = (): void => end.abort(new Error('enough'))
    await expect(exportImage(disk, { signal: end.signal, onProgress })).rejects.toThrow('enough')
    expect(await exportsThere()).toEqual([])
    const root = await navigator.storage.getDirectory()
    await (await root.getDirectoryHandle('.vmblock-exports')).getFileHandle('left', { create: true })
    const image = await exportImage(disk, { format: 'raw', name: 'mine.img' })
    expect(await exportsThere()).toHaveLength(1)
    expect(image.file.name).toBe('mine.img')
    await image[Symbol.asyncDispose]()
  })
})
