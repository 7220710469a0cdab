import { iotest } from '../src/harness.ts'

const SIZE = 2 * 1024 * 1024 - 48 * 1024
const MODES = ['off', 'metadata', 'falloc', 'full'] as const

iotest(
  '125',
  'preallocation at creation and when growing',
  { formats: ['qcow2'], groups: ['rw'], ownOptions: true, timeout: 60_000 },
  async (t) => {
    for (const cluster_size of ['512', '64k']) {
      for (const created of MODES) {
        for (const grown of MODES) {
          await t.section(`clusters of ${cluster_size}, ${created}, then ${grown}`, async () => {
            const image = await t.create({ size: SIZE, options: { preallocation: created, cluster_size } })
            const run = await t.img(['resize', '-f', 'qcow2', `--preallocation=${grown}`, image.path, '+48K'])
            t.equal([run.code, run.text], [0, 'Image resized.\n'])
            const sizes = async () => [await image.fileSize(), await image.diskUsage()] as const
            const [length0, usage0] = await sizes()
            await image.io(`write 0 ${SIZE}`)
            const [length1, usage1] = await sizes()
            await image.io(`write ${SIZE} 48k`)
            const [length2, usage2] = await sizes()
            if (created !== 'off') t.equal(length1 > length0, false, 'the file was long enough')
            if (created === 'falloc' || created === 'full')
              t.equal(usage1 > usage0, false, 'the space was taken')
            if (grown !== 'off') t.equal(length2 > length1, false, 'the file was long enough for the rest')
            if (grown === 'falloc' || grown === 'full')
              t.equal(usage2 > usage1, false, 'the space for the rest was taken')
            await image.isSound()
          })
        }
      }
    }
    await t.section('growing over a longer backing file shows zeroes', async () => {
      const base = await t.create({ name: 'base', size: '128k', format: 'raw' })
      await base.io('write -P 1 0 128k')
      for (const from of ['31k', '33k']) {
        for (const to of ['96k', '128k']) {
          for (const preallocation of ['metadata', 'full']) {
            const image = await t.create({
              name: 'over.qcow2',
              size: from,
              options: { cluster_size: '64k' },
              backing: base,
            })
            const run = await t.img([
              'resize',
              '-f',
              'qcow2',
              `--preallocation=${preallocation}`,
              image.path,
              to,
            ])
            t.equal(run.code, 0)
            await image.io([`read -P 1 0 ${from}`, `read -P 0 ${from} 63k`])
            // header, refcount table and block, L1 and L2 table, two data clusters
            t.equal(await image.fileSize(), 7 * 65536)
            await image.isSound()
          }
        }
      }
    })
  },
)
