/**
 * An offline page may not be able to load the maintenance code: no data is lost then, and everything that
 * does not need it works.
 */
import type { BlockNode, RawOptions } from '@vmblock/block-core'
import { toBytes } from '@vmblock/block-core/testing'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { createImage, emptyDisk, open, sameBytes } from './testing/images.ts'

/** End of the autoclear bits in the header: bytes. */
const AUTOCLEAR_END = 96

const MESSAGE = /^The code for creating, repairing and changing qcow2 images could not be loaded: /

/** The library without the part. */
async function offline() {
  vi.resetModules()
  vi.doMock('./maintenance/maintenance.ts', () => Promise.reject(new Error('no network')))
  const { DriverRegistry, denyHost, formatImage, memory, openMemory, openNode } = await import(
    '@vmblock/block-core'
  )
  const { qcow2 } = await import('./driver.ts')
  const environment = { registry: new DriverRegistry([memory, qcow2]), host: denyHost }
  return {
    fileOf: (bytes: Uint8Array) => openMemory(bytes),
    openOn: (file: BlockNode, readOnly = false, dataFile?: BlockNode, options: RawOptions = {}) =>
      openNode(environment, {
        driver: 'qcow2',
        file,
        readOnly,
        ...(dataFile && { 'data-file': dataFile }),
        ...options,
      }),
    create: (file: BlockNode) => formatImage(qcow2, file, { size: '1M' }),
  }
}

let page: Awaited<ReturnType<typeof offline>>
beforeAll(async () => {
  page = await offline()
})
afterAll(() => {
  vi.doUnmock('./maintenance/maintenance.ts')
  vi.resetModules()
})

/** An image with a cluster of data. */
async function imageBytes(options: { lazy: boolean; crashed: boolean }): Promise<Uint8Array> {
  const file = await createImage({ size: 1 << 20, lazy_refcounts: options.lazy })
  const disk = await open(file)
  await disk.write(65536, new Uint8Array(65536).fill(7))
  await disk.flush()
  await (options.crashed ? disk.crash() : disk.close())
  return toBytes(file)
}

describe('without the code for maintenance', () => {
  test('a dirty image is refused for writing, stays as it is, and can be read', async () => {
    const before = await imageBytes({ lazy: true, crashed: true })
    // An unknown autoclear bit: an open for writing clears it, but not yet.
    before[AUTOCLEAR_END - 1] = 0x20
    const file = await page.fileOf(before.slice())
    await expect(page.openOn(file)).rejects.toMatchObject({
      code: 'EIO',
      message: expect.stringMatching(MESSAGE),
    })
    expect(sameBytes(await toBytes(file), before)).toBe(true)
    const disk = await page.openOn(file, true)
    const bytes = new Uint8Array(2)
    await disk.read(65535, bytes)
    expect([...bytes]).toEqual([0, 7])
    await disk.close()
  })

  test.each(['a sound image', 'an image with a data file', 'an image that needs more refcount blocks'])(
    '%s is opened, read, written, zeroed, discarded, flushed and closed',
    async (name) => {
      const data = name === 'an image with a data file' ? page.fileOf(new Uint8Array(2 ** 20)) : undefined
      const bytesOf = async () => {
        if (data) return toBytes(await createImage({ size: 2 ** 20, data_file: 'x' }, await emptyDisk()))
        if (name === 'a sound image') return imageBytes({ lazy: true, crashed: false })
        return toBytes(await createImage({ size: 2 ** 20, cluster_size: 512, refcount_bits: 64 }))
      }
      const disk = await page.openOn(page.fileOf(await bytesOf()), false, data)
      await disk.write(0, new Uint8Array(200_000).fill(9))
      await disk.writeZeroes(65536, 65536)
      await disk.discard(131072, 65536)
      await disk.flush()
      const bytes = new Uint8Array(2)
      await disk.read(65535, bytes)
      expect([...bytes]).toEqual([9, 0])
      await disk.close()
    },
  )

  test('an image whose header an open for writing has to change is refused, and stays as it is', async () => {
    const before = await imageBytes({ lazy: false, crashed: false })
    before[AUTOCLEAR_END - 1] = 0x20
    const file = await page.fileOf(before.slice())
    await expect(page.openOn(file)).rejects.toMatchObject({
      code: 'EIO',
      message: expect.stringMatching(MESSAGE),
    })
    expect(sameBytes(await toBytes(file), before)).toBe(true)
    await (await page.openOn(file, true)).close()
  })

  test.each<[string, RawOptions]>([
    ['a cache size', { l2CacheSize: '1M' }],
    ['overlap checks', { 'overlap-check': 'all' }],
    ['one overlap check', { 'overlap-check.inactive-l2': true }],
  ])('an open with %s is refused', async (_, options) => {
    const file = await page.fileOf(await imageBytes({ lazy: false, crashed: false }))
    await expect(page.openOn(file, false, undefined, options)).rejects.toMatchObject({
      code: 'EIO',
      message: expect.stringMatching(MESSAGE),
    })
    await (await page.openOn(file, false, undefined, { 'cache-clean-interval': 1 })).close()
  })

  test.each<[string, (disk: BlockNode) => Promise<unknown>]>([
    ['a check', (disk) => disk.check({ repair: 'all' })],
    ['another size', (disk) => disk.truncate(2 << 20)],
    ['other options', (disk) => disk.amend({ lazy_refcounts: true })],
    ['dropping all data', (disk) => disk.makeEmpty()],
  ])('%s is refused, and the image is used on', async (_, request) => {
    const before = await imageBytes({ lazy: false, crashed: false })
    const file = await page.fileOf(before.slice())
    const disk = await page.openOn(file)
    await expect(request(disk)).rejects.toMatchObject({
      code: 'EIO',
      message: expect.stringMatching(MESSAGE),
    })
    await disk.write(65536, new Uint8Array(65536).fill(7))
    await disk.close()
    expect(sameBytes(await toBytes(file), before)).toBe(true)
  })

  test('no image is made, and the file stays empty', async () => {
    const file = await page.fileOf(new Uint8Array(0))
    await expect(page.create(file)).rejects.toMatchObject({
      code: 'EIO',
      message: expect.stringMatching(MESSAGE),
    })
    expect(file.size).toBe(0)
  })
})
