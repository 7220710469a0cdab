/** Every kind of source in Node.js opens the same disk, and images may name what they are allowed to. */

import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { open as openFile, stat } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { pathToFileURL } from 'node:url'
import { openMemory } from '@vmblock/block-core'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { create, info, open, type Source } from './node-js.ts'

const directory = mkdtempSync(join(tmpdir(), 'vmblock-'))
const path = (name: string): string => join(directory, name)
const DATA = new Uint8Array(5000).fill(7)
let content: Uint8Array<ArrayBuffer>
const server = createServer((request, response) => {
  const [, from, to] = /bytes=(\d+)-(\d+)?/.exec(request.headers.range ?? '') ?? []
  const [start, end] = [Number(from ?? 0), Math.min(Number(to ?? content.length - 1), content.length - 1)]
  const headers = { 'content-range': `bytes ${start}-${end}/${content.length}`, etag: '"1"' }
  response.writeHead(206, { ...headers, 'content-length': end - start + 1 })
  response.end(request.method === 'HEAD' ? undefined : content.subarray(start, end + 1))
})

beforeAll(async () => {
  await create(path('disk.qcow2'), { size: '1M' })
  {
    await using disk = await open(path('disk.qcow2'))
    await disk.write(512, DATA)
  }
  content = new Uint8Array(readFileSync(path('disk.qcow2')))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
})
afterAll(() => {
  server.close()
  server.closeAllConnections()
  rmSync(directory, { recursive: true })
})
const url = () => new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/disk.qcow2`)

const SOURCES: readonly [name: string, source: () => Source, readOnly: boolean][] = [
  ['a path', () => path('disk.qcow2'), false],
  ['a relative path', () => relative('.', path('disk.qcow2')), false],
  ['a file URL', () => pathToFileURL(path('disk.qcow2')), false],
  ['a URL', url, true],
  ['bytes', () => content, false],
  ['an ArrayBuffer', () => content.buffer, false],
  ['a Blob', () => new Blob([content]), true],
  ['{ file }', () => ({ file: path('disk.qcow2') }), false],
  ['{ url }', () => ({ url: String(url()), readAhead: 0 }), true],
  ['{ blob }', () => ({ blob: new Blob([content]) }), true],
  ['{ memory }', () => ({ memory: content }), false],
  ['{ overlay, base }', () => ({ overlay: 'memory', base: { file: path('disk.qcow2') } }), false],
  ['options of a node', () => ({ node: { driver: 'qcow2', file: openMemory(content) } }), false],
  ['an open node of bytes', () => openMemory(content), false],
]

describe('a disk is opened from', () => {
  it.each(SOURCES)('%s', async (_, source, readOnly) => {
    await using disk = await open(source())
    expect([disk.format, disk.size, disk.readOnly, disk.isOpen]).toEqual(['qcow2', 2 ** 20, readOnly, true])
    expect(await disk.read(512, 5000)).toEqual(DATA)
    await using other = await open(source(), { readOnly: true }).catch((error: { code: string }) => {
      // Two writers of a file are refused, here as well.
      expect(error.code).toBe('EBUSY')
      return undefined as never
    })
    if (other) expect(other.readOnly).toBe(true)
  })

  it('a FileHandle, which stays open', async () => {
    copyFileSync(path('disk.qcow2'), path('held.qcow2'))
    const handle = await openFile(path('held.qcow2'), 'r+')
    try {
      {
        await using disk = await open(handle)
        expect(disk.format).toBe('qcow2')
        await disk.write(0, DATA)
        await disk.flush()
        // The same file by its path, which the handle does not hide.
        await expect(open(path('held.qcow2'))).rejects.toMatchObject({ code: 'EBUSY' })
      }
      expect((await handle.stat()).size).toBeGreaterThan(0)
      await using again = await open({ file: handle }, { format: 'qcow2', readOnly: true })
      expect(await again.read(0, 5000)).toEqual(DATA)
    } finally {
      await handle.close()
    }
  })

  it('an open disk, which stays open, and is closed without it', async () => {
    await using disk = await open(path('disk.qcow2'))
    {
      await using same = await open(disk)
      expect([same.node, await same.read(512, 1)]).toEqual([disk.node, Uint8Array.of(7)])
      await using node = await open(disk.node)
      expect(node.size).toBe(disk.size)
    }
    expect(disk.isOpen).toBe(true)
    const closed = await open(disk)
    await closed.close()
    await expect(open(closed)).rejects.toMatchObject({ code: 'ENOMEDIUM' })
  })

  it('a new image, if the source says a size', async () => {
    {
      await using disk = await open({ file: path('new.qcow2'), size: '3M' })
      expect([disk.format, disk.size]).toEqual(['qcow2', 3 * 2 ** 20])
    }
    expect((await info(path('new.qcow2'))).size).toBe(3 * 2 ** 20)
  })

  it.each([
    ['{ opfs }', { opfs: 'disk.qcow2' }],
    ['{ indexeddb }', { indexeddb: 'disk' }],
  ])('no %s', async (_, source) => {
    await expect(open(source)).rejects.toMatchObject({ code: 'ENOTSUP' })
    await expect(create(source, { size: 512, format: 'raw' })).rejects.toMatchObject({ code: 'ENOTSUP' })
  })

  it('nothing that is not there', async () => {
    await expect(open(path('none.qcow2'))).rejects.toMatchObject({ code: 'ENOENT' })
    await expect(stat(path('none.qcow2'))).rejects.toMatchObject({ code: 'ENOENT' })
  })
})

describe('opening ends with a signal', () => {
  it('that is aborted before, or while a server says nothing', async () => {
    await expect(open(path('disk.qcow2'), { signal: AbortSignal.abort('enough') })).rejects.toBe('enough')
    const abort = new AbortController()
    const silent = (): Promise<never> => {
      abort.abort('too slow')
      return new Promise(() => undefined)
    }
    const opening = open({ url: 'http://127.0.0.1:1/', fetch: silent as never }, { signal: abort.signal })
    await expect(opening).rejects.toBe('too slow')
  })

  it('and closes what it opened all the same', async () => {
    await create(path('aborted.qcow2'), { size: '1M' })
    const abort = new AbortController()
    const opening = open(path('aborted.qcow2'), { signal: abort.signal })
    abort.abort('changed my mind')
    await expect(opening).rejects.toBe('changed my mind')
    await vi.waitFor(async () => (await open(path('aborted.qcow2'))).close())
  })
})

describe('an image may name', () => {
  beforeAll(async () => {
    mkdirSync(path('inner'))
    copyFileSync(path('disk.qcow2'), path('inner/base.qcow2'))
    await create(path('inner/inside.qcow2'), { backing: path('inner/base.qcow2') })
    await create(path('inner/outside.qcow2'), { backing: path('disk.qcow2') })
  })
  const reads = async (name: string, options?: Parameters<typeof open>[1]): Promise<number> => {
    await using disk = await open(path(name), options)
    return (await disk.read(512, 1))[0]!
  }
  const refused = { code: 'EACCES' }

  it('files in its directory, and no others, by default', async () => {
    expect(await reads('inner/inside.qcow2')).toBe(7)
    await expect(reads('inner/outside.qcow2')).rejects.toMatchObject(refused)
  })

  it('what `allow` says', async () => {
    expect(await reads('inner/outside.qcow2', { allow: 'all' })).toBe(7)
    expect(await reads('inner/outside.qcow2', { allow: { directory } })).toBe(7)
    await expect(reads('inner/inside.qcow2', { allow: 'none' })).rejects.toMatchObject(refused)
    const asked: string[] = []
    const resolve = async ({ filename }: { readonly filename: string }) => {
      asked.push(filename)
      return { driver: 'qcow2', file: { driver: 'file', filename: path('disk.qcow2') } }
    }
    expect(await reads('inner/outside.qcow2', { allow: { resolve } })).toBe(7)
    expect(asked).toEqual([path('disk.qcow2')])
  })

  it('nothing, if it has no path itself', async () => {
    const bytes = new Uint8Array(readFileSync(path('inner/inside.qcow2')))
    await expect(open(bytes)).rejects.toMatchObject(refused)
    // It can be described all the same.
    expect(await info(bytes)).toMatchObject({ format: 'qcow2', backing: { format: 'qcow2' } })
  })
})
