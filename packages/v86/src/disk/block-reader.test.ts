import { BlockError } from '@vmblock/block-core'
import { createRandom } from '@vmblock/block-core/testing'
import { describe, expect, it } from 'vitest'
import { runMicrotasks } from '../testing/slow-disk.ts'
import { BlockReader } from './block-reader.ts'

const BLOCK = 512
const SIZE = 64 * BLOCK

/** A source that records reads, and ends them on demand. */
function stage(cacheBlocks: number, readAhead = 0) {
  const content = createRandom(1).bytes(SIZE)
  const asked: string[] = []
  const ends: ((error?: unknown) => void)[] = []
  const source = {
    size: SIZE,
    behind: () => undefined,
    read: (offset: number, into: Uint8Array) => {
      asked.push(`${offset / BLOCK}+${into.length / BLOCK}`)
      return new Promise<void>((resolve, reject) =>
        ends.push((error) => {
          into.set(content.subarray(offset, offset + into.length))
          if (error === undefined) resolve()
          else reject(error)
        }),
      )
    },
  }
  const reader = new BlockReader(source, { cacheSize: cacheBlocks * BLOCK, blockSize: BLOCK, readAhead })
  const end = async (error?: unknown): Promise<void> => {
    ends.shift()!(error)
    await runMicrotasks()
  }
  const read = async (offset: number, bytes: number): Promise<Uint8Array> => {
    const into = new Uint8Array(bytes)
    const reading = reader.read(offset, into)
    while (ends.length > 0) await end()
    await reading
    return into
  }
  return { content, asked, ends, reader, end, read }
}

describe('BlockReader', () => {
  it('fetches whole blocks once, and answers from memory then', async () => {
    const { content, asked, reader, read } = stage(8)
    expect(await read(700, 500)).toEqual(content.slice(700, 1200))
    const into = new Uint8Array(1024)
    expect(reader.readSync(512, into)).toBe(true)
    expect(into).toEqual(content.slice(512, 1536))
    expect(reader.readSync(0, into)).toBe(false)
    expect(asked).toEqual(['1+2'])
  })

  it('holds no more than it may, and drops what was not used for the longest time', async () => {
    const { reader, read } = stage(4)
    for (const block of [0, 1, 2, 3]) await read(block * BLOCK, 1)
    reader.readSync(0, new Uint8Array(1))
    await read(4 * BLOCK, 1)
    expect(reader.cachedBytes).toBe(4 * BLOCK)
    expect(reader.readSync(0, new Uint8Array(1))).toBe(true)
    expect(reader.readSync(BLOCK, new Uint8Array(1))).toBe(false)
  })

  it('reads what is large beside the cache', async () => {
    const { content, asked, reader, read } = stage(4)
    expect(await read(0, 3 * BLOCK)).toEqual(content.slice(0, 3 * BLOCK))
    expect(asked).toEqual(['0+3'])
    expect(reader.cachedBytes).toBe(0)
  })

  it('asks once for what two readers want', async () => {
    const { asked, reader, end } = stage(8)
    const both = Promise.all([reader.read(0, new Uint8Array(512)), reader.read(10, new Uint8Array(5))])
    await end()
    await both
    expect(asked).toEqual(['0+1'])
  })

  it('does not keep what was fetched before a write, nor give it to a read after it', async () => {
    const { content, asked, reader, end } = stage(8)
    const early = new Uint8Array(512)
    const reading = reader.read(0, early)
    const old = content.slice(0, 512)
    reader.wrote(0, new Uint8Array(512).fill(7))
    const late = new Uint8Array(512)
    const second = reader.read(0, late)
    expect(asked).toEqual(['0+1', '0+1'])
    await end()
    content.fill(7, 0, 512)
    expect(reader.readSync(0, new Uint8Array(1))).toBe(false)
    await end()
    await Promise.all([reading, second])
    expect(early).toEqual(old)
    expect(late).toEqual(new Uint8Array(512).fill(7))
  })

  it('brings blocks in memory up to date, also in parts', async () => {
    const { content, reader, read } = stage(8)
    await read(0, 3 * BLOCK)
    reader.wrote(400, new Uint8Array(700).fill(9))
    content.fill(9, 400, 1100)
    const into = new Uint8Array(3 * BLOCK)
    expect(reader.readSync(0, into)).toBe(true)
    expect(into).toEqual(content.slice(0, 3 * BLOCK))
  })

  it('reads ahead of a reader that goes on, in large steps, and not of others', async () => {
    const { asked, reader, ends, end, read } = stage(32, 8 * BLOCK)
    await read(0, BLOCK)
    await read(20 * BLOCK, BLOCK)
    expect(asked).toEqual(['0+1', '20+1'])
    await read(21 * BLOCK, BLOCK)
    expect(asked.slice(2)).toEqual(['21+1', '22+2'])
    for (let block = 22; block < 30; block++) {
      expect(reader.readSync(block * BLOCK, new Uint8Array(BLOCK))).toBe(true)
      while (ends.length > 0) await end()
    }
    // The window doubles, up to 8 blocks, and is refilled once half of it is used up.
    expect(asked.slice(4)).toEqual(['24+3', '27+5', '32+4'])
  })

  it('does not fail for what lies beside, nor for what was read ahead', async () => {
    const { content, reader, end } = stage(8)
    const into = new Uint8Array(10)
    const reading = reader.read(100, into)
    await end(new Error('elsewhere in the block'))
    await end()
    await reading
    expect(into).toEqual(content.slice(100, 110))
    const failing = reader.read(100, into)
    await end(new Error('elsewhere'))
    await end(new Error('here'))
    await expect(failing).rejects.toThrow('here')
  })

  it.each([2, 64])('fetches what is on its way once, where %i blocks are kept', async (blocks) => {
    const { asked, ends, reader } = stage(blocks)
    const reads: Promise<void>[] = []
    for (let turn = 0; turn < 5; turn++)
      for (let block = 0; block < 40; block++)
        reads.push(reader.read(block * BLOCK + turn, new Uint8Array(10)))
    expect(asked.length).toBe(40)
    for (const end of ends) end()
    await Promise.all(reads)
    expect(asked.length).toBe(40)
  })

  it('does not ask again for less where a failure has nothing to do with the offset, and tells each reader', async () => {
    const { asked, reader, end, read } = stage(8)
    const reads = [0, 1, 2].map((at) => reader.read(at, new Uint8Array(4)).catch((error: unknown) => error))
    await end(new BlockError('ETIMEDOUT', 'silence'))
    const errors = await Promise.all(reads)
    expect(new Set(errors).size).toBe(3)
    for (const error of errors) expect(error).toMatchObject({ code: 'ETIMEDOUT', message: 'silence' })
    expect(asked.length).toBe(1)
    // A failed fetch is not cached.
    await read(0, 4)
    expect(asked.length).toBe(2)
  })
})
