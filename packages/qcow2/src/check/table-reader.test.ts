import { BlockError } from '@vmblock/block-core'
import type { NodeOps } from '@vmblock/block-core/driver'
import { edgeTo, nodeOf } from '@vmblock/block-core/testing'
import { describe, expect, test } from 'vitest'
import { TableReader } from './table-reader.ts'

const SIZE = 65536

/** A file whose bytes are derived from their offset; it records reads, and fails at `broken`. */
function fileOf(broken: readonly number[] = []) {
  const reads: [offset: number, bytes: number][] = []
  let flying = 0
  let most = 0
  const ops: NodeOps = {
    growable: true,
    size: () => 0,
    async read(offset, into) {
      reads.push([offset, into.length])
      flying += into.length
      most = Math.max(most, flying)
      await Promise.resolve()
      flying -= into.length
      if (broken.some((at) => at >= offset && at < offset + into.length))
        throw new BlockError('EIO', 'told to fail')
      for (let at = 0; at < into.length; at += SIZE) into[at] = (offset + at) / SIZE
    },
  }
  return { file: edgeTo(nodeOf(ops)), reads, most: () => most }
}

const at = (...indexes: number[]): number[] => indexes.map((index) => index * SIZE)

describe('a reader of tables', () => {
  test('reads neighbours at once, and every table once', async () => {
    const { file, reads } = fileOf()
    const offsets = at(1, 2, 3, 9, 20, 21, 5)
    const reader = new TableReader({ file, offsets, size: SIZE, ahead: true })
    const together: number[] = []
    for (const [i, offset] of offsets.entries()) {
      expect((await reader.read(i))[0]).toBe(offset / SIZE)
      together.push(reader.together)
    }
    expect(together).toEqual([3, 3, 3, 1, 2, 2, 1])
    expect(reads).toEqual([
      [SIZE, 3 * SIZE],
      [9 * SIZE, SIZE],
      [20 * SIZE, 2 * SIZE],
      [5 * SIZE, SIZE],
    ])
  })

  test('begins the next reads before they are wanted, and takes a bounded memory', async () => {
    const { file, reads, most } = fileOf()
    const offsets = Array.from({ length: 1000 }, (_, i) => (i + Math.floor(i / 5)) * SIZE)
    const reader = new TableReader({ file, offsets, size: SIZE, ahead: true })
    await reader.read(0)
    expect(reads.length).toBeGreaterThan(5)
    for (let i = 1; i < offsets.length; i++) await reader.read(i)
    expect(reads).toHaveLength(200)
    expect(most()).toBeLessThanOrEqual(3 * 2 ** 20)
  })

  test('tells the caller that asks for the table that cannot be read, and no other', async () => {
    const { file } = fileOf([2 * SIZE])
    const offsets = at(0, 1, 2, 3, 4, 9)
    const reader = new TableReader({ file, offsets, size: SIZE, ahead: true })
    const seen: unknown[] = []
    for (const i of offsets.keys())
      seen.push(
        await reader.read(i).then(
          (bytes) => bytes[0],
          ({ code }: BlockError) => code,
        ),
      )
    expect(seen).toEqual([0, 1, 'EIO', 3, 4, 9])
  })

  test('reads a table when it is wanted, and alone, where others may change it', async () => {
    const { file, reads } = fileOf()
    const reader = new TableReader({ file, offsets: at(1, 2, 3), size: SIZE, ahead: false })
    await reader.read(0)
    expect(reads).toEqual([[SIZE, SIZE]])
    await reader.read(2)
    expect(reads).toHaveLength(2)
  })
})
