import { Contents } from '../src/contents.ts'
import { iotest } from '../src/harness.ts'

/** What every nine clusters hold: data, nothing, compressed data. */
const KINDS = ['data', 'data', 'free', 'data', 'compressed', 'compressed', 'free', 'free', 'compressed']
const ROUNDS = 4

/** Command, pattern, offset, length. */
type Write = readonly [string, number, number, number]

iotest(
  '014',
  'snapshots of data, compressed data and nothing',
  {
    formats: ['qcow2'],
    groups: ['rw', 'auto', 'snapshot'],
    unsupportedOptions: ['data_file', 'refcount_bits=1', 'cluster_size=2M'],
  },
  async (t) => {
    const cluster = t.clusterSize
    const areas = [0, 4 * 1024 ** 3]
    const image = await t.create({ size: '6G' })
    const contents = new Contents(6 * 1024 ** 3)
    const write = async (commands: readonly Write[]) => {
      for (const [, byte, offset, bytes] of commands) contents.fill(offset, bytes, byte)
      await image.io(commands.map(([op, ...[byte, offset, bytes]]) => `${op} -P ${byte} ${offset} ${bytes}`))
    }
    const each = areas.flatMap((area) =>
      Array.from({ length: ROUNDS }, (_, round) =>
        KINDS.map((kind, i) => ({ kind, offset: area + (round * KINDS.length + i) * cluster })),
      ).flat(),
    )
    const isShown = async (model: Contents) => {
      for (const area of areas) await image.holds(model, area, area + ROUNDS * KINDS.length * cluster)
    }
    await write(
      each
        .filter(({ kind }) => kind !== 'free')
        .map(({ kind, offset }) => [kind === 'data' ? 'writev' : 'write -c', 165, offset, cluster] as const),
    )
    await isShown(contents)
    await image.isSound()

    const taken: [string, Contents][] = []
    for (let i = 1; i <= 3; i++) {
      await image.img(['snapshot', '-c', `test${i}`, image.path])
      taken.push([`test${i}`, contents.clone()])
      // Some in each cluster, the whole of others, never the same of nine and of eleven.
      await write(
        each.flatMap(({ offset }, n): Write[] =>
          n % 11 < 3
            ? [['write', 16 * i, offset, cluster]]
            : n % 11 < 6
              ? [['writev', 16 * i + 1, offset + cluster / 4, cluster / 2]]
              : [],
        ),
      )
      await isShown(contents)
      await image.isSound()
    }
    await t.section('each snapshot still has what it had', async () => {
      for (const [tag, model] of taken) {
        await image.img(['snapshot', '-a', tag, image.path])
        await isShown(model)
        await image.isSound()
      }
    })
  },
)
