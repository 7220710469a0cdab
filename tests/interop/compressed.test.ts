/** Images with compressed clusters: both sides write some, and read and overwrite those of the other. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { testedFormat } from '../support/formats.ts'
import { type Bench, haveQemu, openBench } from '../support/real-qemu.ts'
import { openOurs } from './src/ours.ts'
import { passBackAndForth } from './src/rounds.ts'
import { compressed, compressing, emptyImage, type Variety } from './src/varieties.ts'

const KIB = 1024

passBackAndForth(
  'compressed images pass back and forth',
  [
    compressed('zlib'),
    compressed('zstd'),
    compressed('zlib', { cluster_size: '4k' }),
    compressed('zstd', { cluster_size: '2M' }),
    compressed('zlib', { cluster_size: '512' }),
    compressed('zlib', { compat: '0.10' }),
  ],
  ['qemu-img'],
)

const empty = (create: Record<string, string>, cluster = 64 * KIB): Variety =>
  compressing(emptyImage(testedFormat('qcow2'), { create, suites: [] }), cluster)

passBackAndForth(
  'images pass back and forth',
  [
    empty({ extended_l2: 'on' }),
    empty({ refcount_bits: '1' }),
    empty({ refcount_bits: '2', compression_type: 'zstd', cluster_size: '8k' }, 8 * KIB),
    empty({ lazy_refcounts: 'on' }),
  ],
  ['qemu-img', 'our create'],
)

describe.skipIf(!haveQemu)('compressed writes', () => {
  let bench: Bench
  beforeEach(() => {
    bench = openBench()
  })
  afterEach(() => bench.remove())

  /** Where the data of the first clusters lies: host offset in bytes, and sectors beyond the first. */
  const places = (name: string): readonly (readonly [offset: string, sectors: number])[] => {
    const view = new DataView(bench.read(name).buffer)
    const l1 = Number(view.getBigUint64(40))
    const l2 = Number(view.getBigUint64(l1) & 0x00ff_ffff_ffff_fe00n)
    return [0, 1, 2].map((index) => {
      const entry = view.getBigUint64(l2 + index * 8)
      const offsetBits = 62n - 8n
      const offset = entry & ((1n << offsetBits) - 1n)
      return [offset.toString(16), Number((entry >> offsetBits) & 0xffn)] as const
    })
  }

  test.each(['zlib', 'zstd'])(
    'in one session lie where those of QEMU lie, in three begin clusters: %s',
    async (type) => {
      const make = (name: string): string =>
        bench.run('qemu-img', 'create', '-q', '-f', 'qcow2', '-o', `compression_type=${type}`, name, '1M')
      for (const sessions of [1, 3]) {
        make('theirs')
        make('ours')
        const [perSession, starts] = sessions === 1 ? [3, [0]] : [1, [0, 1, 2]]
        for (const first of starts) {
          const indexes = Array.from({ length: perSession }, (_, i) => first + i)
          const commands = indexes.flatMap((i) => ['-c', `write -c -P ${i + 1} ${i * 64}k 64k`])
          bench.run('qemu-io', '-f', 'qcow2', ...commands, 'theirs')
          const node = await openOurs(bench.path('ours'), 'qcow2')
          for (const i of indexes)
            await node.writeCompressed(i * 64 * KIB, new Uint8Array(64 * KIB).fill(i + 1))
          await node.close()
        }
        expect(places('ours')).toEqual(places('theirs'))
        bench.run('qemu-img', 'compare', '-f', 'qcow2', '-F', 'qcow2', 'ours', 'theirs')
        bench.run('qemu-img', 'check', 'ours')
      }
    },
  )
})
