import { Contents } from '../src/contents.ts'
import { iotest } from '../src/harness.ts'
import { l1Entry } from '../src/qcow2-bytes.ts'

const KIB = 1024
const CLUSTER = 64 * KIB
const SUBCLUSTER = 2 * KIB

/** `0-6 9` as the numbers 0 to 6 and 9. */
const numbers = (text: string): number[] =>
  text
    .split(' ')
    .filter(Boolean)
    .flatMap((part) => {
      const [first = 0, last = first] = part.split('-').map(Number)
      return Array.from({ length: last - first + 1 }, (_, i) => first + i)
    })

/** A request and the resulting bitmap of the touched cluster. Positions: cluster, subcluster, KiB in it. */
interface Step {
  readonly op: 'write' | 'zero' | 'unmap' | 'discard'
  readonly at: readonly [cluster: number, subcluster: number, kib?: number]
  readonly bytes: number
  /** Bitmaps by cluster: [allocated, zero]. */
  readonly expect: Readonly<Record<number, readonly [string, string]>>
}

/** A request that changes one cluster: only its bitmap is checked. */
const step = (op: Step['op'], at: Step['at'], bytes: number, bitmap: readonly [string, string]): Step => ({
  op,
  at,
  bytes,
  expect: { [at[0]]: bitmap },
})

/** A request over several clusters. */
const wide = (op: Step['op'], at: Step['at'], bytes: number, expect: Step['expect']): Step => ({
  op,
  at,
  bytes,
  expect,
})

const WRITES: readonly Step[] = [
  step('write', [0, 0], KIB, ['0', '']),
  step('write', [0, 1, 1], 512, ['0-1', '']),
  step('write', [0, 2, 1], KIB, ['0-2', '']),
  step('write', [0, 3], 2 * KIB, ['0-3', '']),
  step('write', [0, 4], 6 * KIB, ['0-6', '']),
  step('write', [0, 7, 1], 4 * KIB, ['0-9', '']),
  step('write', [0, 16], KIB, ['0-9 16', '']),
  wide('write', [0, 31, 1], 4 * KIB, { 0: ['0-9 16 31', ''], 1: ['0-1', ''] }),
  step('zero', [0, 1], 2 * KIB, ['0 2-9 16 31', '1']),
  step('zero', [0, 0], CLUSTER, ['', '0-31']),
  step('write', [0, 0], CLUSTER, ['0-31', '']),
  step('unmap', [0, 0], 32 * KIB, ['16-31', '0-15']), // half a cluster is not freed
  step('unmap', [0, 0], CLUSTER, ['', '0-31']),
  step('write', [0, 1, 1], 512, ['1', '0 2-31']),
  step('write', [0, 0], CLUSTER, ['0-31', '']),
  step('discard', [0, 0], CLUSTER, ['', '0-31']),
]

const OVERWRITES: readonly Step[] = [
  step('write', [0, 12], 40 * KIB, ['12-31', '']),
  step('write', [1, 13], 2 * KIB, ['13', '']),
  step('write', [2, 14], 2 * KIB, ['14', '']),
  step('zero', [2, 14], 2 * KIB, ['', '14']),
  step('write', [3, 0], 34 * KIB, ['0-16', '']),
  wide('write', [0, 12], 192 * KIB, { 0: ['12-31', ''], 1: ['0-31', ''], 2: ['0-31', ''], 3: ['0-16', ''] }),
]

/** Zero writes over unallocated clusters and over data; over a backing file their ends are copied. */
const zeroes = (backing: boolean): readonly Step[] => [
  wide('zero', [0, 0], 192 * KIB, { 0: ['', '0-31'], 1: ['', '0-31'], 2: ['', '0-31'] }),
  wide('zero', [3, 16], 128 * KIB, { 3: ['', '16-31'], 4: ['', '0-31'], 5: ['', '0-15'] }),
  wide('zero', [6, 15, 1], 128 * KIB, {
    6: backing ? ['15', '16-31'] : ['', '15-31'],
    7: ['', '0-31'],
    8: backing ? ['15', '0-14'] : ['', '0-15'],
  }),
  wide('write', [9, 0], 576 * KIB, { 9: ['0-31', ''], 17: ['0-31', ''] }),
  wide('zero', [9, 0], 192 * KIB, { 9: ['', '0-31'], 10: ['', '0-31'], 11: ['', '0-31'] }),
  wide('zero', [12, 16], 128 * KIB, { 12: ['0-15', '16-31'], 13: ['', '0-31'], 14: ['16-31', '0-15'] }),
  wide('zero', [15, 15, 1], 128 * KIB, { 15: ['0-15', '16-31'], 16: ['', '0-31'], 17: ['15-31', '0-14'] }),
]

iotest(
  '271',
  'the subcluster bitmaps of extended L2 entries',
  {
    formats: ['qcow2'],
    groups: ['rw', 'auto'],
    unsupportedOptions: ['extended_l2', 'compat=0.10', 'cluster_size', 'data_file', 'refcount_bits=1'],
    timeout: 60_000,
  },
  async (t) => {
    const run = async (name: string, size: number, backing: boolean, steps: readonly Step[]) => {
      const base = backing ? await t.create({ name: `${name}.raw`, size, format: 'raw' }) : undefined
      await base?.io(`write -P 0xff 0 ${size}`)
      const image = await t.create({
        name,
        size,
        options: { extended_l2: 'on' },
        ...(base ? { backing: base } : {}),
      })
      const contents = new Contents(size).fill(0, size, backing ? 0xff : 0)
      let pattern = 0
      for (const { op, at, bytes, expect } of steps) {
        const offset = at[0] * CLUSTER + at[1] * SUBCLUSTER + (at[2] ?? 0) * KIB
        const byte = op === 'write' ? ++pattern : 0
        const command = {
          write: `write -P ${byte}`,
          zero: 'write -z',
          unmap: 'write -z -u',
          discard: 'discard',
        }[op]
        await t.section(`${name}: ${command} ${offset} ${bytes}`, async () => {
          await image.io(`${command} ${offset} ${bytes}`)
          contents.fill(offset, bytes, byte)
          await image.holds(contents)
          await image.isSound()
          const table = (await l1Entry(image.path, 0)).offset
          for (const [cluster, [allocated, zero]] of Object.entries(expect)) {
            const view = new DataView((await image.peek(table + Number(cluster) * 16 + 8, 8)).buffer)
            const bits = (word: number) => numbers('0-31').filter((bit) => (word >>> bit) & 1)
            t.equal(
              [bits(view.getUint32(4)), bits(view.getUint32(0))],
              [numbers(allocated), numbers(zero)],
              `cluster ${cluster}`,
            )
          }
        })
      }
    }
    for (const backing of [true, false]) {
      const about = backing ? 'backed' : 'alone'
      await run(`writes-${about}.qcow2`, 1024 * KIB, backing, WRITES)
      await run(`zeroes-${about}.qcow2`, 2083 * KIB - ((2083 * KIB) % 512), backing, zeroes(backing))
    }
    await run('overwrites.qcow2', 1024 * KIB, false, OVERWRITES)
  },
)
