/** The same names in a page: its sources, and images in the storage of its origin. */
import { createRandom } from '@vmblock/block-core/testing'
import { beforeEach, describe, expect, it } from 'vitest'
import { check, convert, create, info, open, type Source, type Target } from 'vmblock'
import { clearStorage } from '../../../tests/support/origin-storage.ts'

const MIB = 2 ** 20
const DATA = createRandom(1).bytes(300_000)

let count = 0
const fresh = (): string => `vmblock-${count++}.qcow2`

beforeEach(() => clearStorage())

const STORES: readonly [string, (name: string) => Source & Target][] = [
  ['opfs', (name) => ({ opfs: name })],
  ['indexeddb', (name) => ({ indexeddb: name })],
]

/** The bytes of an image with {@link DATA} in it. */
async function imageBytes(): Promise<Uint8Array<ArrayBuffer>> {
  const name = fresh()
  await create({ opfs: name }, { size: '4M' })
  {
    await using disk = await open({ opfs: name })
    await disk.write(1000, DATA)
  }
  await using file = await open({ opfs: name }, { format: 'raw', readOnly: true })
  return file.read(0, file.size)
}

/** Uploads bytes to the web server of the tests. */
async function served(body: Uint8Array<ArrayBuffer>): Promise<string> {
  const url = `/disks/${fresh()}`
  await fetch(url, { method: 'POST', body })
  return url
}

describe.each(STORES)('an image in %s', (_, at) => {
  it('is created, written, described, checked and streamed', async () => {
    const place = at(fresh())
    await create(place, { size: '4M', lazyRefcounts: true, format: 'qcow2' })
    {
      await using disk = await open(place, { readOnly: false })
      await disk.write(4096, DATA)
      await disk.flush()
      const kinds = []
      for await (const { kind } of disk.extents()) kinds.push(kind)
      expect(kinds.at(0)).toBe('data')
      expect(kinds.at(-1)).toBe('hole')
      const packed = await new Response(
        disk.readable({ end: MIB }).pipeThrough(new CompressionStream('gzip')),
      ).blob()
      await packed
        .stream()
        .pipeThrough(new DecompressionStream('gzip'))
        .pipeTo(disk.writable({ start: 2 * MIB }))
      const [first, copy] = [await disk.read(0, MIB), await disk.read(2 * MIB, MIB)]
      expect(first.every((byte, index) => byte === copy[index])).toBe(true)
      await using part = await disk.slice(4096, 8192)
      expect(await part.read(0, 512)).toEqual(DATA.slice(0, 512))
    }
    expect(await info(place)).toMatchObject({ format: 'qcow2', size: 4 * MIB, dirty: false })
    expect((await check(place, { repair: 'all' })).findings).toEqual([])
    await expect(create(place, { size: '1M', format: 'qcow2' })).rejects.toMatchObject({ code: 'EEXIST' })
  })

  it('is the target of a conversion, and removed if that is aborted', async () => {
    const bytes = await imageBytes()
    const target = at(fresh())
    const abort = new AbortController()
    const onProgress = () => abort.abort(new Error('enough'))
    const aborted = convert(bytes, target, { format: 'qcow2', signal: abort.signal, onProgress })
    await expect(aborted).rejects.toThrow('enough')
    await expect(open(target)).rejects.toMatchObject({ code: 'ENOENT' })
    await convert(bytes, target, { format: 'qcow2' })
    await using disk = await open(target)
    expect((await disk.read(1000, 300_000)).every((byte, index) => byte === DATA[index])).toBe(true)
  })
})

describe('a disk is opened from', () => {
  it('a URL, a Blob, bytes, and as an overlay on any of them', async () => {
    const bytes = await imageBytes()
    const url = await served(bytes)
    const sources: Source[] = [
      url,
      new URL(url, location.href),
      { url },
      new Blob([bytes]),
      new File([bytes], 'disk.qcow2'),
      new Picked(new File([bytes], 'disk.qcow2')),
      bytes,
      bytes.buffer,
      { overlay: 'memory', base: { url } },
    ]
    for (const source of sources) {
      await using disk = await open(source)
      expect(await disk.read(1000, 512)).toEqual(DATA.slice(0, 512))
    }
  })

  it('no file of Node', async () => {
    await expect(open({ file: '/etc/passwd' })).rejects.toMatchObject({ code: 'ENOTSUP' })
    await expect(create('/disk.qcow2', { size: '1M' })).rejects.toMatchObject({ code: 'EACCES' })
    await expect(
      create({ opfs: fresh() }, { backing: new Blob([await imageBytes()]) }),
    ).rejects.toMatchObject({
      code: 'ENOTSUP',
    })
  })
})

/** A handle as a picker returns it: not a plain object. */
class Picked {
  readonly kind = 'file'
  readonly #file: File
  constructor(file: File) {
    this.#file = file
  }
  async getFile(): Promise<File> {
    return this.#file
  }
}
