import { iotest } from '../src/harness.ts'

iotest(
  '170',
  'dd of a whole disk',
  { formats: ['generic'], groups: ['rw', 'auto', 'quick'], unsupportedOptions: ['data_file'] },
  async (t) => {
    const source = await t.create({ name: 'source', size: '1M' })
    await source.io(['write -P 0xa 0 700k', 'write -z 700k 100k'])
    const target = t.image('target')
    await target.img(['dd', '-f', t.format, '-O', t.format, `if=${source.path}`, `of=${target.path}`])
    await target.isSound()
    await target.img(['compare', '-f', t.format, '-F', t.format, source.path, target.path])
    await t.section('and of its first blocks', async () => {
      const first = t.image('first', 'raw')
      await first.img(['dd', '-f', t.format, 'bs=64k', 'count=3', `if=${source.path}`, `of=${first.path}`])
      t.equal(await first.fileSize(), 3 * 65_536)
      await first.io('read -P 0xa 0 192k')
    })
  },
)
