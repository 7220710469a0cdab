/** Blocks are decoded once, kept while there is room, and large ones are decoded one after the other. */
import { expect, it } from 'vitest'
import { DecodedCache } from './decoded-cache.ts'

const MIB = 2 ** 20
const blockOf = (value: number): Uint8Array => Uint8Array.of(value)

/** A cache, and the keys that were decoded through it. */
function recorded(limit?: number) {
  const cache = new DecodedCache(limit)
  const decoded: number[] = []
  const get = (key: number, bytes: number): Promise<Uint8Array> =>
    cache.get(key, bytes, async () => {
      decoded.push(key)
      return blockOf(key)
    })
  return { cache, decoded, get }
}

it('decodes a block once, also for two that ask at the same time', async () => {
  const { decoded, get } = recorded()
  const [one, two] = await Promise.all([get(7, 100), get(7, 100)])
  expect(one).toBe(two)
  expect(await get(7, 100)).toBe(one)
  expect(decoded).toEqual([7])
})

it('forgets what was not used for longest when there is no more room', async () => {
  const { cache, decoded, get } = recorded(300)
  for (const key of [1, 2, 3, 1, 4]) await get(key, 100)
  expect(cache.bytes).toBe(300)
  for (const key of [1, 3, 4]) await get(key, 100)
  expect(decoded).toEqual([1, 2, 3, 4])
  await get(2, 100)
  expect(decoded).toEqual([1, 2, 3, 4, 2])
})

it('keeps one block that is larger than its limit', async () => {
  const { cache, decoded, get } = recorded(100)
  await get(1, 50)
  await get(2, 1000)
  await get(2, 1000)
  expect(decoded).toEqual([1, 2])
  expect(cache.bytes).toBe(1000)
  cache.drop()
  expect(cache.bytes).toBe(0)
})

it('does not keep a failure', async () => {
  const cache = new DecodedCache()
  await expect(cache.get(1, 10, () => Promise.reject(new Error('bad block')))).rejects.toThrow('bad block')
  expect(cache.bytes).toBe(0)
  expect(await cache.get(1, 10, async () => blockOf(1))).toEqual(blockOf(1))
})

it('does not take a late failure for that of a block which was decoded since', async () => {
  const cache = new DecodedCache(10)
  let fail = (_: Error): void => undefined
  const first = cache.get(1, 10, () => new Promise((_, reject) => (fail = reject)))
  await cache.get(2, 10, async () => blockOf(2))
  await cache.get(1, 10, async () => blockOf(1))
  fail(new Error('late'))
  await expect(first).rejects.toThrow('late')
  expect(cache.bytes).toBe(10)
})

it('decodes large blocks one after the other', async () => {
  const cache = new DecodedCache()
  let most = 0
  let running = 0
  const decode = async (): Promise<Uint8Array> => {
    most = Math.max(most, ++running)
    for (let i = 0; i < 5; i++) await Promise.resolve()
    running--
    return blockOf(0)
  }
  await Promise.all([1, 2, 3].map((key) => cache.get(key, 4 * MIB, decode)))
  expect(most).toBe(1)
  await Promise.all([4, 5, 6].map((key) => cache.get(key, MIB, decode)))
  expect(most).toBe(3)
})
