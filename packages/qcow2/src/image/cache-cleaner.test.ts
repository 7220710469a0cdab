import type { BlockChild, TableCache } from '@vmblock/block-core/driver'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { createImage, open, pattern } from '../testing/images.ts'
import { CacheCleaner } from './cache-cleaner.ts'

describe('cache-clean-interval', () => {
  beforeEach(() => vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] }))
  afterEach(() => vi.useRealTimers())

  test('sweeps in time, from the last start on, and no longer than it shall', () => {
    const dropUnused = vi.fn()
    const caches = () => [{ dropUnused }] as unknown as TableCache[]
    const cleaner = new CacheCleaner()
    cleaner.start(10, caches)
    vi.advanceTimersByTime(9_999)
    cleaner.start(20, caches)
    vi.advanceTimersByTime(19_999)
    expect(dropUnused).toHaveBeenCalledTimes(0)
    vi.advanceTimersByTime(20_001)
    expect(dropUnused).toHaveBeenCalledTimes(2)
    cleaner.start(0, caches)
    vi.advanceTimersByTime(10 ** 6)
    cleaner.start(0xffff_ffff, caches)
    // Longer than a timer can wait: it must not fire at once.
    vi.advanceTimersByTime(10 ** 6)
    expect(dropUnused).toHaveBeenCalledTimes(2)
    cleaner.stop()
    expect(vi.getTimerCount()).toBe(0)
  })

  test('gives back tables of an image, which are read again when they are wanted', async () => {
    const file = await createImage({ size: 2 ** 20, cluster_size: 4096 })
    const node = await open(file, { 'cache-clean-interval': 5 })
    await node.write(0, pattern(2 ** 20))
    await node.flush()
    const read = vi.spyOn(node.file as BlockChild, 'read')
    const metadataReads = async (): Promise<number> => {
      read.mockClear()
      await node.blockStatus(0, 2 ** 20)
      return read.mock.calls.length
    }
    expect(await metadataReads()).toBe(0)
    vi.advanceTimersByTime(5_000)
    expect(await metadataReads()).toBe(0)
    vi.advanceTimersByTime(10_000)
    expect(await metadataReads()).toBeGreaterThan(0)
    await node.close()
  })

  test.each(['close', 'crash'] as const)('ends with the node: %s', async (end) => {
    const node = await open(await createImage({ size: 2 ** 20 }))
    expect(vi.getTimerCount()).toBe(1)
    await node[end]()
    expect(vi.getTimerCount()).toBe(0)
  })

  test('ends when the image is found corrupt', async () => {
    const file = await createImage({ size: 2 ** 20 })
    await file.write(0x20000, new Uint8Array(65536))
    const node = await open(file)
    await expect(node.write(0, pattern(1))).rejects.toMatchObject({ code: 'EIO' })
    expect(vi.getTimerCount()).toBe(0)
    await node.close()
  })
})
