/** Blocks whose data lies together: one read, each block in its place, and nothing under way when it ends. */
import { expect, it } from 'vitest'
import type { Extent } from './codec.ts'
import { packed } from './packed.ts'

/** Each block is 4 bytes: the first of its data, and the length of that. */
const copies = packed(async (data, into) => {
  into.set([data[0]!, data.length])
})
const file = Uint8Array.from({ length: 2 ** 19 }, (_, i) => i >> 9)
const extents: readonly Extent[] = [
  { hostOffset: 512, compressedBytes: 100 },
  { hostOffset: 600, compressedBytes: 30 },
  { hostOffset: 1024, compressedBytes: 7 },
]

it('reads the data of all of them at once', async () => {
  const reads: [number, number][] = []
  const into = new Uint8Array(12)
  await copies(
    extents,
    async (offset, buffer) => {
      reads.push([offset, buffer.length])
      buffer.set(file.subarray(offset, offset + buffer.length))
    },
    into,
  )
  expect(reads).toEqual([[512, 519]])
  expect([...into]).toEqual([1, 100, 0, 0, 1, 30, 0, 0, 2, 7, 0, 0])
})

it('takes as much memory as the data needs', async () => {
  const wide = [extents[0]!, { hostOffset: 2 ** 19 - 10, compressedBytes: 10 }]
  const into = new Uint8Array(8)
  await copies(
    wide,
    async (offset, buffer) => buffer.set(file.subarray(offset, offset + buffer.length)),
    into,
  )
  expect([...into]).toEqual([1, 100, 0, 0, file.at(-1), 10, 0, 0])
})

it('ends when all have ended, though one fails', async () => {
  let ended = 0
  const late = packed(async (_data, into) => {
    if (into.byteOffset === 0) throw new Error('the first')
    for (let i = 0; i < 9; i++) await Promise.resolve()
    ended++
  })
  await expect(late(extents, async () => undefined, new Uint8Array(12))).rejects.toThrow('the first')
  expect(ended).toBe(2)
})

it('fails as the read does', async () => {
  const read = () => Promise.reject(new Error('no such place'))
  await expect(copies(extents, read, new Uint8Array(12))).rejects.toThrow('no such place')
})
