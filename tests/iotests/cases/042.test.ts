import { takes, testedFormat } from '../../support/formats.ts'
import { iotest } from '../src/harness.ts'

iotest(
  '042',
  'an image of size zero',
  { formats: ['generic'], groups: ['rw', 'auto', 'quick'] },
  async (t) => {
    const image = await t.create({ size: 0 })
    await image.isSound()
    t.equal((await image.io('length')).lines, ['0 bytes'])
    const refused = await image.tryIo('read 0 1')
    t.equal(refused.lines, ['read failed: Input/output error'])
    if (testedFormat(t.format).resizes !== 'not at all')
      await t.section('it can grow', async () => {
        await image.io(['truncate 1M', 'read -P 0 0 1M', 'write -P 3 512k 512k'])
        await image.io('read -P 3 512k 512k')
        await image.isSound()
      })
    if (takes(testedFormat(t.format), 'backing_file')) {
      await t.section('it can get another backing file', async () => {
        const old = await t.create({ name: 'old', size: 0 })
        const next = await t.create({ name: 'next', size: 0 })
        const overlay = await t.create({ name: 'overlay', size: 0, backing: old })
        for (const backing of [next.path, ''])
          await overlay.img(['rebase', '-f', t.format, '-b', backing, '-F', t.format, overlay.path])
        t.equal((await overlay.info())['backing-filename'], undefined)
        await overlay.isSound()
      })
    }
    await t.section('it can be converted', async () => {
      const empty = await t.create({ name: 'empty', size: 0 })
      const target = t.image('converted')
      const run = await t.img(['convert', '-p', '-f', t.format, '-O', t.format, empty.path, target.path])
      t.equal([run.code, run.text], [0, '    (0.00/100%)\r    (100.00/100%)\r\n'])
      t.equal((await target.io('length')).lines, ['0 bytes'])
      await target.isSound()
    })
  },
)
