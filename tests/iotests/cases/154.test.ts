import { Contents } from '../src/contents.ts'
import { iotest } from '../src/harness.ts'

const KIB = 1024
const SIZE = 128 * KIB

/** Initial writes to the backing file, and zero writes to the overlay, in KiB: [start, length]. */
const CASES = [
  [
    'a backing file of zeroes',
    [],
    [
      [0, 2],
      [10, 2],
      [17, 2],
      [27, 2],
    ],
  ],
  [
    'data before the request',
    [
      [32, 1],
      [65, 1],
    ],
    [
      [34, 1],
      [66, 1],
    ],
  ],
  [
    'data behind the request',
    [
      [34, 1],
      [43, 1],
    ],
    [
      [33, 1],
      [41, 1],
    ],
  ],
  [
    'data under the request',
    [
      [5, 1],
      [14, 1],
      [21, 2],
      [29.5, 1],
    ],
    [
      [5, 2],
      [13, 2],
      [21, 2],
      [29, 2],
    ],
  ],
  [
    'over two clusters, data before',
    [
      [32, 1],
      [49, 1],
      [66, 1],
    ],
    [
      [35, 2],
      [51, 2],
      [67, 2],
    ],
  ],
  [
    'over two clusters, data behind',
    [
      [37, 1],
      [54, 1],
      [71, 1],
    ],
    [
      [35, 2],
      [51, 2],
      [67, 2],
    ],
  ],
  ['over two clusters, data under a part', [[2, 4]], [[3, 2]]],
  ['over many clusters, data in the first', [[64, 2]], [[66, 7]]],
  ['over many clusters, data in the middle', [[69, 2]], [[66, 7]]],
  ['over many clusters, data in the last', [[74, 2]], [[66, 7]]],
  ['over many clusters, data under a part', [[65, 10]], [[66, 7]]],
] as const

iotest(
  '154',
  'unaligned zero writes use zero clusters where the rest of the cluster is zero',
  {
    formats: ['qcow2'],
    groups: ['rw', 'backing', 'auto', 'quick'],
    unsupportedOptions: ['compat=0.10', 'cluster_size', 'extended_l2'],
  },
  async (t) => {
    const cluster = 4 * KIB
    for (const [about, data, zeroes] of CASES) {
      await t.section(about, async () => {
        const base = await t.create({ name: 'base.qcow2', size: SIZE, options: { cluster_size: '512' } })
        const image = await t.create({ size: SIZE, options: { cluster_size: '4k' }, backing: base })
        const contents = new Contents(SIZE)
        if (data.length > 0)
          await base.io(data.map(([at, length]) => `write -P 0x11 ${at * KIB} ${length * KIB}`))
        for (const [at, length] of data) contents.fill(at * KIB, length * KIB, 0x11)
        await image.io(zeroes.map(([at, length]) => `write -z ${at * KIB} ${length * KIB}`))
        for (const [at, length] of zeroes) contents.fill(at * KIB, length * KIB, 0)
        await image.holds(contents)

        const map = await image.map()
        const kindAt = (offset: number): string => {
          const entry = map.find(({ start, length }) => offset >= start && offset < start + length)
          if (entry?.depth !== 0) return 'backing'
          return entry.data ? 'data' : 'zero'
        }
        for (const [at, length] of zeroes) {
          const first = Math.floor((at * KIB) / cluster) * cluster
          for (let offset = first; offset < (at + length) * KIB; offset += cluster) {
            const allZero = contents.within(offset, offset + cluster).every(({ byte }) => byte === 0)
            t.equal(kindAt(offset), allZero ? 'zero' : 'data', `cluster at ${offset}`)
          }
        }
        await image.isSound()
      })
    }
    await t.section('a last cluster that is not whole', async () => {
      for (const [at, length] of [
        [0, 512],
        [1536, 512],
        [512, 1024],
        [0, 2048],
      ] as const) {
        const image = await t.create({
          name: 'tail.qcow2',
          size: SIZE + 2048,
          options: { cluster_size: '4k' },
        })
        await image.io(`write -z ${SIZE + at} ${length}`)
        const result = await image.io([`alloc ${SIZE} 2048`, `read -P 0 ${SIZE} 2048`])
        t.equal(result.lines[0], `2048/2048 bytes allocated at offset 128 KiB`)
        t.equal(
          (await image.map()).every(({ data }) => !data),
          true,
        )
        await image.isSound()
      }
    })
  },
)
