import { Contents } from '../src/contents.ts'
import { iotest } from '../src/harness.ts'

/** Requests in clusters, each at the start of six clusters of its own: offset, length. */
const SHAPES = [
  [0, 1],
  [0.5, 0.5],
  [0, 0.5],
  [0.25, 0.5],
  [0.5, 2],
] as const

iotest(
  '013',
  'a compressed image, and writes into it',
  {
    formats: ['qcow2', 'qcow'],
    groups: ['rw', 'auto'],
    // Clusters in another file cannot be compressed; the last L2 table of large clusters lies beyond the disk.
    unsupportedOptions: ['data_file', 'cluster_size=2M'],
    timeout: 60_000,
  },
  async (t) => {
    const cluster = t.format === 'qcow2' ? t.clusterSize : 4096
    const size = 6 * 1024 ** 3
    const contents = new Contents(size)
    const table = (cluster * cluster) / (t.variant.options['extended_l2'] ? 16 : 8)
    const areas = [0, 4 * 1024 ** 3]

    /** Writes of every shape, and across the ends of L2 tables, all moved by some bytes. */
    const writes = (moved: number): string[] => {
      const commands: string[] = []
      const put = (offset: number, bytes: number): void => {
        const byte = (Math.floor(offset / 512) + moved) % 255 // never all equal to what was there
        contents.fill(offset, bytes, byte)
        commands.push(`${commands.length % 2 ? 'write' : 'writev'} -P ${byte} ${offset} ${bytes}`)
      }
      for (const area of areas) {
        for (let round = 0; round < 4; round++) {
          SHAPES.forEach(([at, length], i) => {
            put(area + moved + (6 * (round * SHAPES.length + i) + at) * cluster, length * cluster)
          })
        }
        const first = Math.ceil((area + 130 * cluster) / table) * table
        for (let i = 0; i < 2; i++) put(first + i * table - 1.5 * cluster + moved, 3 * cluster)
      }
      return commands
    }
    const shown = areas
      .flatMap((area) => {
        const first = Math.ceil((area + 130 * cluster) / table) * table
        return [
          ...contents.readCommands(area, area + 1),
          [area, area + 128 * cluster],
          [first - 4 * cluster, first + 4 * cluster],
          [first + table - 4 * cluster, first + table + 4 * cluster],
        ]
      })
      .filter((window): window is [number, number] => typeof window !== 'string')
    const isShown = async (image: Awaited<ReturnType<typeof t.create>>) => {
      for (const [from, to] of shown) await image.holds(contents, from, to)
      await image.isSound()
    }

    const plain = await t.create({ name: 'plain', size })
    await plain.io(writes(0))
    await isShown(plain)
    const options = Object.entries(t.variant.options).map(([key, value]) => `${key}=${value}`)
    const image = t.image('compressed')
    await image.img([
      ...['convert', '-c', '-f', t.format, '-O', t.format],
      ...(options.length > 0 ? ['-o', options.join(',')] : []),
      ...[plain.path, image.path],
    ])
    await t.section('compressed', async () => {
      await isShown(image)
      const check = JSON.parse(
        t.format === 'qcow2'
          ? (await image.img(['check', '--output=json', '-f', 'qcow2', image.path])).text
          : '{"compressed-clusters":1}',
      )
      t.equal(check['compressed-clusters'] > 0, true)
    })
    await t.section('partly overwritten', async () => {
      await image.io(writes(512))
      await isShown(image)
    })
  },
)
