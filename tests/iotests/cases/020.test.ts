import { mkdir } from 'node:fs/promises'
import { iotest } from '../src/harness.ts'

const FOUR_GIB = 4 * 1024 ** 3

iotest(
  '020',
  'commit into the backing file',
  // committing 6 GiB in steps of 512 bytes takes QEMU half a minute
  {
    formats: ['qcow2'],
    groups: ['rw', 'backing', 'auto', 'quick'],
    unsupportedOptions: ['cluster_size=512'],
  },
  async (t) => {
    const cluster = 64 * 1024
    const patternOf = (offset: number): number => Math.floor(offset / 512) % 256
    const commands = (verb: string, start: number, bytes: number, step: number, count: number): string[] =>
      Array.from({ length: count }, (_, i) => `${verb} -P ${patternOf(start)} ${start + i * step} ${bytes}`)

    await t.section('what the overlay holds arrives in the base, at 0 and beyond 4 GiB', async () => {
      const base = await t.create({ name: 'base.qcow2', size: '6G' })
      for (const offset of [0, FOUR_GIB]) {
        await base.io([
          ...commands('writev', offset, 512, 1024, 64), // every second sector
          ...commands('writev', offset + cluster, cluster, cluster, 1),
        ])
      }
      await base.isSound()

      const overlay = await t.create({ size: '6G', backing: base })
      for (const offset of [0, FOUR_GIB]) {
        await overlay.io([
          ...commands('writev', offset + 512, 512, 1024, 64), // the sectors between
          ...commands('writev', offset + 2 * cluster, cluster, cluster, 1),
        ])
      }
      await overlay.isSound()

      const run = await t.img(['commit', overlay.path])
      t.equal([run.code, run.text], [0, 'Image committed.\n'])
      for (const offset of [0, FOUR_GIB]) {
        await base.io([
          ...commands('readv', offset, 512, 1024, 64),
          ...commands('readv', offset + 512, 512, 1024, 64),
          ...commands('readv', offset + cluster, cluster, cluster, 1),
          ...commands('readv', offset + 2 * cluster, cluster, cluster, 1),
          `readv -P 0 ${offset + 5 * cluster} ${cluster}`,
        ])
      }
      await base.isSound()
    })

    await t.section('a commit that cannot write says so', async () => {
      const base = await t.create({ name: 'full.qcow2', size: '1M' })
      const failing = {
        driver: 'qcow2',
        file: {
          driver: 'blkdebug',
          'inject-error': [{ event: 'write_aio', errno: 28, once: true }],
          image: { driver: 'file', filename: base.path },
        },
      }
      const overlay = await t.create({
        name: 'over-full.qcow2',
        size: '1M',
        backing: `json:${JSON.stringify(failing)}`,
        backingFormat: 'qcow2',
      })
      await overlay.io('writev -P 7 0 64k')
      const run = await t.img(['commit', overlay.path])
      t.equal([run.code, run.text], [1, 'qemu-img: Block job failed: No space left on device\n'])
      await overlay.io('read -P 7 0 64k')
    })

    await t.section('a base that is not in the chain', async () => {
      await mkdir(t.path('sub'))
      const base = await t.create({ name: 'sub/base.qcow2', size: '1M' })
      const middle = await t.create({
        name: 'sub/middle.qcow2',
        backing: 'base.qcow2',
        backingFormat: 'qcow2',
      })
      const top = await t.create({ name: 'sub/top.qcow2', backing: 'middle.qcow2', backingFormat: 'qcow2' })
      await top.io('write -P 9 0 64k')
      const wrong = await t.img(['commit', '-b', 'nowhere.qcow2', top.path])
      t.equal(wrong.code, 1)
      t.equal(
        t.tidy(wrong.text),
        "qemu-img: Did not find 'nowhere.qcow2' in the backing chain of 'DIR/sub/top.qcow2'\n",
      )
      const run = await t.img(['commit', '-b', middle.path, top.path])
      t.equal([run.code, run.text], [0, 'Image committed.\n'])
      await middle.io('read -P 9 0 64k')
      await base.io('read -P 0 0 64k')
    })
  },
)
