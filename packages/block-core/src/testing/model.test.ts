import { describe, expect, it } from 'vitest'
import { memory } from '../drivers/memory.ts'
import { forwardOps, passThrough } from '../drivers/pass-through.ts'
import { randomOperations, runModel } from './model.ts'
import { openTestNode } from './nodes.ts'
import { createRandom } from './random.ts'

describe('a model run', () => {
  it('finds a disk that loses the last byte of a block, and shows the shortest way to it', async () => {
    const broken = {
      ...passThrough,
      async open(context: Parameters<typeof passThrough.open>[0]) {
        const child = await context.requireChild('file')
        const below = forwardOps(child)
        return {
          ...below,
          write: (offset: number, from: Uint8Array) =>
            child.write(
              offset,
              (offset + from.length) % 4096 === 0 ? from.subarray(0, from.length - 1) : from,
            ),
        }
      },
    }
    const makeNode = async () => {
      const file = await openTestNode(memory, { options: { size: 100_000 } })
      return openTestNode(broken, { children: { file } })
    }
    const failure = await runModel({ seed: 7, operations: 200, makeNode }).catch((error: Error) => error)
    expect(failure).toBeInstanceOf(Error)
    const lines = (failure as Error).message.split('\n')
    expect(lines[0]).toMatch(
      /^model run failed, seed 7: byte at \d+4095|^model run failed, seed 7: byte at \d+ is \d+, not \d+$/,
    )
    expect(lines.length).toBeLessThanOrEqual(3)
  })

  it('does the same again for the same seed', () => {
    const run = { operations: 50, discard: 'zeroes', truncateUpTo: 9999 } as const
    expect(randomOperations({ ...run, seed: 1 }, 5000)).toEqual(randomOperations({ ...run, seed: 1 }, 5000))
    expect(randomOperations({ ...run, seed: 1 }, 5000)).not.toEqual(
      randomOperations({ ...run, seed: 2 }, 5000),
    )
  })
})

describe('seeded randomness', () => {
  it('stays in its bounds and reaches them', () => {
    const random = createRandom(1)
    const seen = new Set(Array.from({ length: 1000 }, () => random.int(3, 7)))
    expect([...seen].sort()).toEqual([3, 4, 5, 6])
    expect(random.bytes(5000).includes(0)).toBe(false)
    expect(random.pick(['only'])).toBe('only')
  })

  it('gives the same numbers for the same seed, for ever', () => {
    const random = createRandom(42)
    expect([random.int(0, 2 ** 53), random.int(0, 100), ...random.bytes(4)]).toEqual(
      (() => {
        const again = createRandom(42)
        return [again.int(0, 2 ** 53), again.int(0, 100), ...again.bytes(4)]
      })(),
    )
  })
})
