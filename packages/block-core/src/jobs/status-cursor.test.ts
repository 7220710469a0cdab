import { describe, expect, it } from 'vitest'
import { nodeOf } from '../testing/nodes.ts'
import { StatusCursor, type StatusCursorOptions } from './status-cursor.ts'

const MIB = 2 ** 20

/** A disk with runs of one length, and its status queries: offset and length in MiB. */
function watched(size: number, run: number, options?: StatusCursorOptions) {
  const asked: [number, number][] = []
  const node = nodeOf({
    size: () => size,
    read: async () => {},
    async blockStatus(offset, bytes) {
      asked.push([offset / MIB, bytes / MIB])
      const odd = Math.floor(offset / run) % 2 === 1
      return { bytes: Math.min(bytes, run - (offset % run)), allocated: true, data: !odd, zero: odd }
    },
  })
  return { asked, cursor: new StatusCursor(node, options), size }
}

describe('going over a disk by its status', () => {
  it('asks nothing twice', async () => {
    const { asked, cursor, size } = watched(16 * MIB, 8 * MIB)
    for (let at = 0; at < size; at += MIB) {
      const status = await cursor.at(at, size - at)
      expect(status).toMatchObject({ bytes: 8 * MIB - (at % (8 * MIB)), zero: at >= 8 * MIB, depth: 0 })
    }
    expect(asked).toEqual([
      [0, 16],
      [8, 8],
    ])
    expect((await cursor.at(9 * MIB, 5)).bytes).toBe(5)
  })

  it('asks about little where runs are short, and about more and more where they are long', async () => {
    const short = watched(1024 * MIB, MIB)
    for (let at = 0; at < 4 * MIB; at += MIB) await short.cursor.at(at, short.size - at)
    expect(short.asked.map(([, bytes]) => bytes)).toEqual([16, 16, 16, 16])
    const long = watched(4096 * MIB, 4096 * MIB)
    for (let at = 0; at < long.size; ) at += (await long.cursor.at(at, long.size - at)).bytes
    expect(long.asked.map(([, bytes]) => bytes)).toEqual([16, 32, 64, 128, 256, 512, 1024, 1024, 1024, 16])
    const whole = watched(4096 * MIB, 4096 * MIB, { whole: true })
    expect((await whole.cursor.at(0, whole.size)).bytes).toBe(whole.size)
  })
})
