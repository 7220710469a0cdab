/** A run passes on correct disks, and finds the fault of incorrect ones, shortened to a few requests. */
import { describe, expect, test } from 'vitest'
import { defineDriver } from '../contract/driver.ts'
import type { BlockNode } from '../contract/node.ts'
import type { NodeOps } from '../contract/node-ops.ts'
import { memory } from '../drivers/memory.ts'
import { forwardOps } from '../drivers/pass-through.ts'
import { type ConcurrencyRun, runConcurrently } from './concurrency.ts'
import { openTestNode } from './nodes.ts'
import { createRandom } from './random.ts'
import { Shaker } from './shaker.ts'
import { stamped, stampsOf } from './stamps.ts'

const RUNS = Number(process.env['CONCURRENCY_RUNS'] ?? 3)
const SEED = Number(process.env['CONCURRENCY_SEED'] ?? 1)
const SIZE = 32 * 1024

type Change = (plain: NodeOps, file: BlockNode) => Partial<NodeOps>

/** Starts a run on a disk in memory, modified by `change`. */
const runOn = (
  seed: number,
  change: Change = () => ({}),
  more: Partial<ConcurrencyRun> = {},
): ConcurrencyRun => ({
  seed,
  requests: 120,
  discard: 'undefined',
  ...more,
  async make(shaker) {
    const file = await openTestNode(memory, { options: { size: SIZE } })
    const below = await shaker.shake(file)
    const driver = defineDriver({
      name: 'subject',
      kind: 'format',
      async open(context): Promise<NodeOps> {
        const plain = forwardOps(await context.requireChild('file'))
        return { ...plain, ...change(plain, below) }
      },
    })
    return { node: await openTestNode(driver, { children: { file: below } }) }
  },
})

/** The error of a run that must fail; tries several seeds, because not every seed hits every fault. */
async function complaintOn(change: Change, more: Partial<ConcurrencyRun> = {}): Promise<string> {
  for (let seed = 1; seed < 40; seed++) {
    const error = await runConcurrently(runOn(seed, change, more)).catch((reason: unknown) => reason)
    if (error !== undefined) return (error as Error).message
  }
  throw new Error('nothing was found')
}

/** The requests listed in an error. */
const requestsIn = (complaint: string): string[] => complaint.split('\nof\n')[1]!.split('\n')

describe('a run', () => {
  test('passes on a disk in memory', async () => {
    for (let seed = SEED; seed < SEED + RUNS; seed++) {
      await runConcurrently(runOn(seed))
      await runConcurrently(
        runOn(seed, () => ({ growable: false }), { sector: 64, granularity: 512, resizeUpTo: SIZE + 8192 }),
      )
      await runConcurrently(runOn(seed, () => ({ limits: { requestAlignment: 4096 } })))
      await runConcurrently(runOn(seed, undefined, { faults: 0.05 }))
    }
    console.log(`counted ${4 * RUNS} histories: memory`)
  })

  test('finds reads that were cached for too long', async () => {
    const complaint = await complaintOn((plain) => {
      const cached = new Map<string, Uint8Array>()
      return {
        async read(offset, into) {
          const key = `${offset}+${into.length}`
          const known = cached.get(key)
          if (known) return into.set(known)
          await plain.read(offset, into)
          cached.set(key, into.slice())
        },
      }
    })
    expect(complaint).toMatch(/seed \d+: sector \d+: no order of the requests explains/)
    expect(requestsIn(complaint).length).toBeLessThan(12)
  })

  test('finds a write that is announced before it is done', async () => {
    const complaint = await complaintOn((plain) => ({
      async write(offset, from, flags) {
        void plain.write!(offset, from.slice(), flags).catch(() => undefined)
      },
    }))
    expect(complaint).toMatch(/no order of the requests explains/)
  })

  test('finds neighbours that are put back as they were', async () => {
    const complaint = await complaintOn((plain) => ({
      // Reads a block, changes a part of it, and writes it back, without a lock.
      async write(offset, from) {
        const start = offset - (offset % 4096)
        const block = new Uint8Array(Math.ceil((offset + from.length - start) / 4096) * 4096)
        await plain.read(start, block)
        block.set(from, offset - start)
        await plain.write!(start, block, {})
      },
    }))
    expect(complaint).toMatch(/no order of the requests explains/)
  })

  test('finds mixtures', async () => {
    const complaint = await complaintOn((plain) => ({
      async write(offset, from, flags) {
        await plain.write!(offset, from.subarray(0, 100), flags)
        await plain.write!(offset + 100, from.subarray(100), flags)
      },
    }))
    expect(complaint).toContain('found a mixture')
  })

  test('finds zeroes that are told too early', async () => {
    const complaint = await complaintOn((plain, file) => {
      let zeroing = 0
      return {
        async writeZeroes(offset, bytes) {
          zeroing++
          await plain.write!(offset, new Uint8Array(bytes), {})
          zeroing--
        },
        blockStatus: async (_, bytes) => ({ bytes, allocated: true, data: file.isOpen, zero: zeroing > 0 }),
      }
    })
    expect(complaint).toMatch(/"kind":"status".*found 0/)
  })

  test('finds requests that wait for each other', async () => {
    const complaint = await complaintOn((plain) => {
      let last: Promise<void> = Promise.resolve()
      return {
        // A long write waits for itself, and so never releases the lock.
        write(offset, from, flags) {
          const before = last
          last = before.then(() => (from.length > 8192 ? last : plain.write!(offset, from, flags)))
          return last
        },
      }
    })
    expect(complaint).toMatch(/wait for ever|Chaining cycle/)
  })
})

describe('a shaken disk', () => {
  test('shows what it holds once it is calm', async () => {
    const shaker = new Shaker(createRandom(3))
    const node = await shaker.shake(await openTestNode(memory, { options: { size: SIZE } }))
    const writing = Promise.all(
      [1, 2, 3].map((stamp) => node.write(stamp * 512, stamped(512, 512, stamp, 512))),
    )
    shaker.calm()
    await writing
    expect(shaker.held).toBe(0)
  })
})

describe('stamps', () => {
  test('tell of every sector where it comes from', () => {
    const data = stamped(1024, 2048, 7, 512)
    expect(stampsOf(data, 1024, 512)).toEqual([7, 7, 7, 7])
    data[600] = 0
    data.fill(0, 1024, 1536)
    expect(stampsOf(data, 1024, 512)).toEqual([7, undefined, 0, 7])
    expect(stampsOf(data.subarray(1536), 0, 512), 'in another place').toEqual([undefined])
    expect(stampsOf(stamped(0, 64, 9, 16).subarray(16, 48), 16, 16)).toEqual([9, 9])
  })
})
