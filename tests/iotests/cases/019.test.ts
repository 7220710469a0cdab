import { Contents } from '../src/contents.ts'
import { iotest } from '../src/harness.ts'

const CLUSTER = 64 * 1024
const GIB = 1024 ** 3

iotest(
  '019',
  'converting onto a backing file copies what the backing file has not',
  {
    formats: ['qcow2'],
    groups: ['rw', 'backing', 'auto', 'quick'],
    unsupportedOptions: ['cluster_size', 'compat=0.10', 'data_file'],
  },
  async (t) => {
    const size = 6 * GIB
    const base = await t.create({ name: 'base.qcow2', size })
    const contents = new Contents(size)
    const starts = [0, 4 * GIB]
    for (const start of starts) {
      await base.io(`write -P 1 ${start} ${8 * CLUSTER}`)
      contents.fill(start, 8 * CLUSTER, 1)
    }
    const source = await t.create({ name: 'source.qcow2', size, backing: base })
    for (const start of starts) {
      const [data, zeroes, late] = [start + CLUSTER, start + 3 * CLUSTER, start + 20 * CLUSTER]
      await source.io([
        `write -P 2 ${data} ${CLUSTER}`,
        `write -z ${zeroes} ${CLUSTER}`,
        `write -P 3 ${late} 4k`,
      ])
      contents.fill(data, CLUSTER, 2).fill(zeroes, CLUSTER, 0).fill(late, 4096, 3)
    }

    const ways = {
      '-B': ['-B', base.path, '-F', 'qcow2'],
      '-o backing_file': ['-o', `backing_file=${base.path},backing_fmt=qcow2`],
    }
    for (const [name, way] of Object.entries(ways)) {
      await t.section(name, async () => {
        const target = t.image('target.qcow2')
        await target.img(['convert', '-O', 'qcow2', ...way, source.path, target.path])
        await target.isSound()
        for (const start of starts) await target.holds(contents, start, start + 32 * CLUSTER)
        t.equal((await target.info())['full-backing-filename'], base.path)
        // The overlay of the copy holds what the overlay of the source held.
        const held = (await target.map()).filter(({ depth, present }) => depth === 0 && present)
        const total = held.reduce((sum, { length }) => sum + length, 0)
        t.equal(total, 6 * CLUSTER)
      })
    }

    await t.section('but not of several disks at once', async () => {
      const run = await t.img([
        'convert',
        '-O',
        'qcow2',
        ...ways['-B'],
        source.path,
        source.path,
        t.path('x'),
      ])
      t.equal(run.code, 1)
      t.match(run.text, /makes no sense when concatenating/)
    })
  },
)
