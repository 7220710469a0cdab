/** What a source may be in a page: picked files, handles of files, URLs, bytes, the storage of the origin. */
import { BlockError, type BlockNode, createImage } from '@vmblock/block-core'
import { afterEach, describe, expect, it } from 'vitest'
import { firstByte, withSource } from '../../../tests/support/opened-source.ts'
import { clearStorage } from '../../../tests/support/origin-storage.ts'
import { type BrowserSource, prepareSource, resolverOf } from './browser.ts'
import { fileOfTarget } from './index.ts'
import type { SourceSettings } from './kit.ts'

const SIZE = 65536
const content = (value: number): Uint8Array<ArrayBuffer> => new Uint8Array(SIZE).fill(value)
afterEach(() => clearStorage())

let count = 0
/** Uploads bytes to the web server of the tests. */
async function served(bytes: Uint8Array<ArrayBuffer>, name = `sources-${count++}`): Promise<string> {
  const url = `/disks/${name}`
  await fetch(url, { method: 'POST', body: bytes })
  return url
}

/** A file of the page's origin, by its handle. */
async function handleOf(bytes: Uint8Array<ArrayBuffer>): Promise<FileSystemFileHandle> {
  const root = await navigator.storage.getDirectory()
  const handle = await root.getFileHandle('picked.img', { create: true })
  const stream = await handle.createWritable()
  await stream.write(bytes)
  await stream.close()
  return handle
}

const using = <T>(
  source: BrowserSource,
  run: (node: BlockNode) => Promise<T>,
  settings?: SourceSettings,
): Promise<T> => withSource(prepareSource(source, settings), run)

describe('a source', () => {
  it.each<[string, () => BrowserSource | Promise<BrowserSource>, boolean]>([
    ['a File', () => new File([content(5)], 'disk.img'), true],
    ['a Blob', () => new Blob([content(5)]), true],
    ['the handle of a file', () => handleOf(content(5)), true],
    ['a URL as text', () => served(content(5)), true],
    ['a URL', async () => new URL(await served(content(5)), location.href), true],
    ['a Uint8Array', () => content(5), false],
    ['an ArrayBuffer', () => content(5).buffer, false],
    [
      'an overlay over a handle',
      async () => ({ overlay: 'memory', base: await handleOf(content(5)) }),
      false,
    ],
    [
      'an overlay in a store',
      async () => ({ overlay: { opfs: 'a' }, base: await served(content(5)) }),
      false,
    ],
    ['an overlay in another', () => ({ overlay: { indexeddb: 'a' }, base: content(5) }), false],
  ])('may be %s', async (_, make, readOnly) => {
    await using(await make(), async (node) => {
      expect([await firstByte(node), node.size, node.readOnly]).toEqual([5, SIZE, readOnly])
    })
  })

  it.each([
    ['undefined', undefined],
    ['a number', 5],
    ['an element', new EventTarget()],
    ['a Date', new Date(0)],
    ['an empty object', {}],
  ])('is not %s', async (_, source) => {
    const error = await using(source as never, firstByte).catch((error: unknown) => error)
    expect(error).toBeInstanceOf(BlockError)
    expect(error).toMatchObject({ code: 'EINVAL', message: expect.stringContaining('{ opfs }') })
  })

  it('of Node.js is told to be one', async () => {
    await expect(using({ file: 'a' } as never, firstByte)).rejects.toMatchObject({ code: 'ENOTSUP' })
  })
})

it.each([
  ['opfs', { opfs: 'new.qcow2' }],
  ['indexeddb', { indexeddb: 'new.qcow2' }],
])('a target in %s takes a new image, and not a second one', async (_, target) => {
  const { kit, source } = await prepareSource(target)
  const { bytes, name } = fileOfTarget(kit, source)
  const create = () => createImage(kit.environment, { driver: 'qcow2', file: bytes, size: '1M' })
  expect(name).toBe('new.qcow2')
  const { remove } = await create()
  await expect(create()).rejects.toMatchObject({ code: 'EEXIST' })
  expect(await using(target, (node) => Promise.resolve([node.size, node.driver.name]))).toEqual([
    2 ** 20,
    'qcow2',
  ])
  await remove()
  await expect(using(target, firstByte)).rejects.toMatchObject({ code: 'ENOENT' })
})

it('an image on a server names the file beside it, if that is allowed', async () => {
  const base = `sources-base-${count++}`
  await served(content(7), base)
  const { kit, source } = await prepareSource({ opfs: 'over.qcow2' })
  const { bytes } = fileOfTarget(kit, source)
  const named = { backingFile: base, backingFmt: 'raw', size: SIZE }
  await createImage(kit.environment, { driver: 'qcow2', file: bytes, ...named })
  const handle = await (await navigator.storage.getDirectory()).getFileHandle('over.qcow2')
  const image = await served(new Uint8Array(await (await handle.getFile()).arrayBuffer()))
  for (const allow of ['directory', 'all', { directory: new URL('/disks', location.href) }] as const)
    expect(await using(image, firstByte, { host: resolverOf(allow) })).toBe(7)
  await expect(using(image, firstByte)).rejects.toMatchObject({ code: 'EACCES' })
})
