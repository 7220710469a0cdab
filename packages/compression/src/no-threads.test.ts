/** Where a process may have no threads, the codecs do the same without. */
import { expect, it, vi } from 'vitest'

vi.mock('node:worker_threads', () => ({
  Worker: class {
    constructor() {
      throw Object.assign(new Error('Access to this API has been restricted'), { code: 'ERR_ACCESS_DENIED' })
    }
  },
}))

it.each([
  ['deflate', () => import('./node-js/deflate.ts')],
  ['zstd', () => import('./node-js/zstd.ts')],
])('%s', async (_, load) => {
  const codec = await load()
  for (const size of [65536, 2 ** 20]) {
    const block = new Uint8Array(size).map((_byte, i) => (i >> 5) & 255)
    const data = await codec.compress(block)
    expect(data!.length).toBeLessThan(size / 2)
    const into = new Uint8Array(size)
    const extent = { hostOffset: 0, compressedBytes: data!.length }
    await codec.readPacked([extent], async (_at, buffer) => buffer.set(data!), into)
    expect(Buffer.compare(into, block)).toBe(0)
    expect(Buffer.compare(await codec.decompress(data!, size), block)).toBe(0)
    await expect(
      codec.readPacked([extent], async (_at, buffer) => void buffer.fill(255), into),
    ).rejects.toThrow()
  }
})
