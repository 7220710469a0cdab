/** What a source may be in Node.js: values, URLs, handles; what images may name; targets. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { type FileHandle, open as openHandle } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { runInNewContext } from 'node:vm'
import { BlockError, type BlockNode, createImage, denyHost, openMemory } from '@vmblock/block-core'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { firstByte, withSource } from '../../../tests/support/opened-source.ts'
import { fileOfTarget, openSource } from './index.ts'
import type { SourceSettings } from './kit.ts'
import { type NodeJsSource, prepareSource, resolverOf } from './node-js.ts'

const SIZE = 65536
const content = (value: number): Uint8Array<ArrayBuffer> => new Uint8Array(SIZE).fill(value)

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'vmblock-sources-'))
  writeFileSync(path('raw.img'), content(5))
})
afterEach(() => rmSync(directory, { recursive: true, force: true }))
const path = (name: string): string => join(directory, name)

/** Serves a file of one byte, repeated, in ranges. */
let server: Server
let address: string
beforeAll(async () => {
  server = createServer((request, response) => {
    const [, from = 0, to = SIZE - 1] = /bytes=(\d+)-(\d*)/.exec(request.headers.range ?? '') ?? []
    const [first, last] = [Number(from), Math.min(Number(to || SIZE - 1), SIZE - 1)]
    response.writeHead(206, { 'Content-Range': `bytes ${first}-${last}/${SIZE}`, ETag: '"1"' })
    response.end(content(9).subarray(first, last + 1))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  address = `http://127.0.0.1:${(server.address() as AddressInfo).port}/disks/disk.img`
})
afterAll(() => {
  server.closeAllConnections()
  return new Promise((resolve) => server.close(resolve))
})

const using = <T>(
  source: NodeJsSource,
  run: (node: BlockNode) => Promise<T>,
  settings?: SourceSettings,
): Promise<T> => withSource(prepareSource(source, settings), run)

describe('a source', () => {
  it.each<[string, () => NodeJsSource, boolean]>([
    ['a path', () => path('raw.img'), false],
    ['a file: URL', () => pathToFileURL(path('raw.img')), false],
    ['a Uint8Array', () => content(5), false],
    ['a Buffer', () => Buffer.alloc(SIZE, 5), false],
    ['an ArrayBuffer', () => content(5).buffer, false],
    ['an ArrayBuffer of another realm', () => runInNewContext('new Uint8Array(65536).fill(5).buffer'), false],
    ['a Blob', () => new Blob([content(5)]), true],
    ['a File', () => new File([content(5)], 'disk.img'), true],
    ['an open node', () => openMemory(content(5)), false],
    ['an overlay of paths', () => ({ overlay: path('over.qcow2'), base: path('raw.img') }), false],
    ['an overlay over a Blob', () => ({ overlay: 'memory', base: new Blob([content(5)]) }), false],
  ])('may be %s', async (_, make, readOnly) => {
    await using(make(), async (node) => {
      expect([await firstByte(node), node.size, node.readOnly]).toEqual([5, SIZE, readOnly])
    })
  })

  it('may be a URL of a web server, also as a base, with options, and as those of a node', async () => {
    expect(await using(new URL(address), firstByte)).toBe(9)
    expect(await using({ url: address, readAhead: 0, retries: 0 }, firstByte)).toBe(9)
    expect(await using({ overlay: 'memory', base: new URL(address) }, firstByte)).toBe(9)
    expect(
      await using({ driver: 'raw', readOnly: true, file: { driver: 'http', url: address } }, firstByte),
    ).toBe(9)
    await using({ overlay: path('over.qcow2'), base: { url: address } }, async (node) => {
      expect((await node.info()).backingFilename).toBeUndefined()
    })
  })

  it('of the host needs no drivers of the web', async () => {
    const driversOf = async (source: NodeJsSource) =>
      [...(await prepareSource(source)).kit.environment.registry].map(({ name }) => name)
    expect(await driversOf(path('raw.img'))).not.toContain('http')
    expect(await driversOf({ overlay: 'memory', base: content(5) })).not.toContain('blob')
    expect(await driversOf(new Blob([]))).toContain('blob')
  })

  it.each([
    ['undefined', undefined],
    ['null', null],
    ['a number', 5],
    ['a function', () => undefined],
    ['a Date', new Date(0)],
    ['a Map', new Map()],
    ['a list', ['a.img']],
    ['an empty object', {}],
    ['an overlay over nothing', { overlay: 'memory', base: undefined }],
    ['an overlay in nothing', { overlay: 7, base: { memory: 512 } }],
    ['a file that is a number', { file: 5 }],
    ['a URL of ftp', new URL('ftp://127.0.0.1/a')],
    ['a URL of another machine', new URL('file://host/a')],
  ])('is not %s', async (_, source) => {
    const error = await using(source as never, firstByte).catch((error: unknown) => error)
    expect(error).toBeInstanceOf(BlockError)
    expect((error as BlockError).code).toBe('EINVAL')
    expect(readdirSync(directory)).toEqual(['raw.img'])
  })

  it('that names nothing is told what a source may be', async () => {
    for (const list of ['{ file }', '{ url }', '{ overlay, base }', 'Blob', 'bytes', 'handle', 'BlockNode'])
      await expect(using(5 as never, firstByte)).rejects.toThrow(list)
    await expect(using({ opfs: 'a' } as never, firstByte)).rejects.toThrow('browsers')
  })

  it('takes more options for the node that it opens', async () => {
    const { kit, source } = await prepareSource(path('raw.img'))
    const { node } = await openSource(kit, source, { readOnly: true, nodeName: 'disk' })
    expect([node.readOnly, node.name]).toEqual([true, 'disk'])
    await node.close()
  })
})

describe.runIf(process.platform === 'linux')('a FileHandle', () => {
  let handle: FileHandle
  const opened = async (flags: string, name = 'raw.img'): Promise<FileHandle> => {
    handle = await openHandle(path(name), flags)
    return handle
  }
  afterEach(() => handle?.close().catch(() => undefined))

  it('is opened again: it is neither used nor closed, and may be closed', async () => {
    await using(await opened('r+'), async (node) => {
      expect([await firstByte(node), node.readOnly]).toEqual([5, false])
      await handle.close()
      await node.write(0, new Uint8Array(512).fill(6))
      await node.truncate(2 * SIZE)
    })
    expect([readFileSync(path('raw.img'))[0], readFileSync(path('raw.img')).length]).toEqual([6, 2 * SIZE])
    await using({ file: await opened('r+'), format: 'raw' }, firstByte)
    expect((await handle.stat()).size).toBe(2 * SIZE)
  })

  it('that is only read is never written to, whatever the file would allow', async () => {
    await using(await opened('r'), async (node) => {
      expect(node.readOnly).toBe(true)
      await expect(node.write(0, new Uint8Array(512))).rejects.toMatchObject({ code: 'EPERM' })
    })
  })

  it('of another name than its file has is still that file', async () => {
    await opened('r+')
    rmSync(path('raw.img'))
    writeFileSync(path('raw.img'), content(7))
    expect(await using(handle, firstByte)).toBe(5)
  })

  it('is written to where it is told, although it would append', async () => {
    await using({ file: await opened('a+'), format: 'raw' }, (node) => node.write(0, content(8)))
    expect(new Uint8Array(readFileSync(path('raw.img')))).toEqual(content(8))
  })

  it('and a path are one file: one writer at a time', async () => {
    await using({ file: path('raw.img'), format: 'raw' }, async () => {
      await expect(using({ file: await opened('r+'), format: 'raw' }, firstByte)).rejects.toMatchObject({
        code: 'EBUSY',
      })
    })
  })

  it('names no base, nor does its image open one', async () => {
    const base = await opened('r')
    await using({ overlay: path('over.qcow2'), base: { file: base } }, async (node) => {
      expect([await firstByte(node), (await node.info()).backingFilename]).toEqual([5, undefined])
    })
    await base.close()
    await using({ overlay: path('named.qcow2'), base: path('raw.img') }, firstByte)
    await expect(using(await opened('r', 'named.qcow2'), firstByte)).rejects.toMatchObject({ code: 'EACCES' })
    expect(await using(path('named.qcow2'), firstByte)).toBe(5)
  })

  it('takes a new image', async () => {
    writeFileSync(path('new'), '')
    await using({ file: await opened('r+', 'new'), size: '1M' }, async (node) => {
      expect([node.size, node.driver.name]).toEqual([2 ** 20, 'qcow2'])
    })
    await handle.close()
    expect(await using(path('new'), (node) => Promise.resolve(node.size))).toBe(2 ** 20)
  })

  it('that is closed, or only written to, is refused', async () => {
    await (await opened('r')).close()
    await expect(using(handle, firstByte)).rejects.toMatchObject({ code: 'EINVAL' })
    await expect(using(await opened('w', 'other'), firstByte)).rejects.toMatchObject({ code: 'EACCES' })
  })
})

describe('an image may name', () => {
  const reads = (settings: SourceSettings, name = 'inside/over.qcow2') =>
    using(path(name), firstByte, settings)
  beforeEach(async () => {
    mkdirSync(path('inside'))
    writeFileSync(path('inside/base.img'), content(3))
    await using({ overlay: path('inside/over.qcow2'), base: path('inside/base.img') }, firstByte)
    await using({ overlay: path('inside/out.qcow2'), base: path('raw.img') }, firstByte)
  })
  const REFUSED = { code: 'EACCES' }

  it('what lies in its directory, if nothing else is said', async () => {
    for (const settings of [{}, { host: resolverOf() }, { host: resolverOf('directory') }]) {
      expect(await reads(settings)).toBe(3)
      await expect(reads(settings, 'inside/out.qcow2')).rejects.toMatchObject(REFUSED)
    }
  })

  it('nothing, everything, what lies in a directory, what a resolver says', async () => {
    await expect(reads({ host: resolverOf('none') })).rejects.toMatchObject(REFUSED)
    expect(await reads({ host: resolverOf('all') }, 'inside/out.qcow2')).toBe(5)
    for (const home of [directory, pathToFileURL(directory)])
      expect(await reads({ host: resolverOf({ directory: home }) }, 'inside/out.qcow2')).toBe(5)
    const inside = { host: resolverOf({ directory: path('inside') }) }
    await expect(reads(inside, 'inside/out.qcow2')).rejects.toMatchObject(REFUSED)
    expect(resolverOf(denyHost)).toBe(denyHost)
  })

  it.each([null, 5, 'dir', {}, { directory: 5 }, { directory: '/', more: 1 }, { resolve: 1 }, []])(
    'nothing that %o would mean',
    (allow) => {
      expect(() => resolverOf(allow as never)).toThrow(BlockError)
    },
  )
})

describe('a target', () => {
  const target = async (source: unknown) => {
    const { kit, source: plain } = await prepareSource(source as NodeJsSource)
    return { kit, ...fileOfTarget(kit, plain) }
  }

  it('is a file that an image is made in, and has a name', async () => {
    for (const source of [
      path('new.qcow2'),
      { file: path('new2.qcow2') },
      pathToFileURL(path('new3.qcow2')),
    ]) {
      const { kit, bytes, name } = await target(source)
      expect(name).toMatch(/new\d?\.qcow2$/)
      await createImage(kit.environment, { driver: 'qcow2', file: bytes, size: '1M' })
    }
    expect(readdirSync(directory)).toHaveLength(4)
    const node = openMemory(new Uint8Array(0))
    expect((await target(node)).bytes).toBe(node)
  })

  it.each<[string, () => unknown, string]>([
    ['a URL', () => new URL(address), 'EACCES'],
    ['bytes', () => content(1), 'EACCES'],
    ['a Blob', () => new Blob([]), 'EACCES'],
    ['a node that is only read', () => openMemory(content(1), { readOnly: true }), 'EACCES'],
    ['options of a node', () => ({ driver: 'file', filename: path('a') }), 'EINVAL'],
    ['an overlay', () => ({ overlay: 'memory', base: { memory: 512 } }), 'EINVAL'],
    ['nothing', () => undefined, 'EINVAL'],
    ['a number', () => 5, 'EINVAL'],
    ['a store of browsers', () => ({ opfs: 'a' }), 'ENOTSUP'],
  ])('is not %s', async (_, make, code) => {
    await expect(target(make())).rejects.toMatchObject({ code })
  })
})
