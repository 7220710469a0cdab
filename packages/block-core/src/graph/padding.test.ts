import { describe, expect, it } from 'vitest'
import { createRandom } from '../testing/random.ts'
import { readPadded, writePadded } from './padding.ts'

const ALIGNMENT = 512

/** A disk that accepts only whole blocks, and records its requests. */
function blocks(size: number) {
  const content = createRandom(1).bytes(size)
  const steps: string[] = []
  const check = (offset: number, length: number): void => {
    expect(offset % ALIGNMENT).toBe(0)
    expect((offset + length) % ALIGNMENT === 0 || offset + length === size).toBe(true)
  }
  return {
    content,
    steps,
    alignment: ALIGNMENT,
    async read(offset: number, into: Uint8Array) {
      check(offset, into.length)
      steps.push(`read ${offset} ${into.length}`)
      into.set(content.subarray(offset, offset + into.length))
    },
    async write(offset: number, data: Uint8Array) {
      check(offset, data.length)
      steps.push(`write ${offset} ${data.length}`)
      content.set(data, offset)
    },
    debugEvent: (event: string) => void steps.push(event),
  }
}

const writeAt = async (disk: ReturnType<typeof blocks>, offset: number, length: number): Promise<void> => {
  const expected = disk.content.slice()
  const data = createRandom(2).bytes(length)
  expected.set(data, offset)
  const start = offset - (offset % ALIGNMENT)
  const end = Math.min(Math.ceil((offset + length) / ALIGNMENT) * ALIGNMENT, disk.content.length)
  await writePadded(disk, start, end - start, offset, data)
  expect(Buffer.compare(disk.content, expected)).toBe(0)
}

const HEAD = ['pwritev_rmw_head', 'pwritev_rmw_after_head']
const TAIL = ['pwritev_rmw_tail', 'pwritev_rmw_after_tail']

describe('padding', () => {
  it('reads around a request and hands out its part', async () => {
    const disk = blocks(4096)
    const into = new Uint8Array(1000)
    await readPadded(disk.read, 512, 1536, 700, into)
    expect(into).toEqual(disk.content.subarray(700, 1700))
    expect(disk.steps).toEqual(['read 512 1536'])
  })

  it.each([
    ['within one block', 10, 100, [HEAD[0], TAIL[0], 'read 0 512', HEAD[1], TAIL[1], 'write 0 512']],
    ['over two blocks', 500, 100, [HEAD[0], TAIL[0], 'read 0 1024', HEAD[1], TAIL[1], 'write 0 1024']],
    ['from a block boundary', 512, 100, [TAIL[0], 'read 512 512', TAIL[1], 'write 512 512']],
    ['up to a block boundary', 600, 424, [HEAD[0], 'read 512 512', HEAD[1], 'write 512 512']],
    ['over two blocks to a boundary', 100, 924, [HEAD[0], 'read 0 512', HEAD[1], 'write 0 1024']],
    [
      'over many blocks',
      100,
      2000,
      [HEAD[0], 'read 0 512', HEAD[1], TAIL[0], 'read 2048 512', TAIL[1], 'write 0 2560'],
    ],
    [
      'in the last, short block',
      4097,
      2,
      [HEAD[0], TAIL[0], 'read 4096 4', HEAD[1], TAIL[1], 'write 4096 4'],
    ],
  ])('rewrites the blocks of a write %s', async (_, offset, length, steps) => {
    const disk = blocks(4100)
    await writeAt(disk, offset, length)
    expect(disk.steps).toEqual(steps)
  })

  it('copies no more than the ends of a long write', async () => {
    const disk = blocks(2 ** 20)
    await writeAt(disk, 100, 2 ** 19)
    expect(disk.steps.filter((step) => step.startsWith('write'))).toEqual([
      'write 0 512',
      'write 512 523776',
      'write 524288 512',
    ])
    disk.steps.length = 0
    await writeAt(disk, 0, 2 ** 19 + 1)
    expect(disk.steps).toEqual([TAIL[0], 'read 524288 512', TAIL[1], 'write 0 524288', 'write 524288 512'])
    disk.steps.length = 0
    await writeAt(disk, 2 ** 20 - 2 ** 19 + 1, 2 ** 19 - 1)
    expect(disk.steps).toEqual([
      HEAD[0],
      'read 524288 512',
      HEAD[1],
      'write 524288 512',
      'write 524800 523776',
    ])
  })
})
