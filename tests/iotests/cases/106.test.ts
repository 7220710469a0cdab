import { iotest } from '../src/harness.ts'

const KIB = 1024
const MODES = ['off', 'falloc', 'full'] as const

iotest(
  '106',
  'preallocation when a raw image grows',
  { formats: ['raw'], groups: ['rw', 'auto', 'quick'] },
  async (t) => {
    const grow = async (path: string, preallocation: string, by: string) =>
      t.img(['resize', '-f', 'raw', `--preallocation=${preallocation}`, path, by])
    for (const created of MODES) {
      for (const grown of MODES) {
        await t.section(`${created}, then ${grown}`, async () => {
          const image = await t.create({ size: '128k', options: { preallocation: created } })
          const run = await grow(image.path, grown, '+256K')
          t.equal([run.code, run.text], [0, 'Image resized.\n'])
          t.equal(await image.fileSize(), 384 * KIB)
          const expected = (created === 'off' ? 0 : 128) + (grown === 'off' ? 0 : 256)
          t.equal((await image.diskUsage()) >= expected * KIB, true)
          await image.io('read -P 0 0 384k')
        })
      }
    }
    await t.section('nothing can be preallocated when shrinking', async () => {
      const image = await t.create({ size: '384k' })
      for (const mode of ['falloc', 'full']) {
        const run = await t.img([
          'resize',
          '-f',
          'raw',
          '--shrink',
          `--preallocation=${mode}`,
          image.path,
          '-256K',
        ])
        t.equal([run.code, run.text], [1, 'qemu-img: Preallocation can only be used for growing images\n'])
      }
      const run = await t.img(['resize', '-f', 'raw', '--shrink', '--preallocation=off', image.path, '-256K'])
      t.equal([run.code, await image.fileSize()], [0, 128 * KIB])
    })
    await t.section('beyond 2 GiB', async () => {
      const image = await t.create({ size: '2G' })
      t.equal((await grow(image.path, 'falloc', '+256K')).code, 0)
      t.equal(await image.fileSize(), 2 * 1024 ** 3 + 256 * KIB)
      t.equal((await image.diskUsage()) >= 256 * KIB, true)
    })
  },
)
