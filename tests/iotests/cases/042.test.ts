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
    await t.section('it can grow', async () => {
      await image.io(['truncate 1M', 'read -P 0 0 1M', 'write -P 3 512k 512k'])
      await image.io('read -P 3 512k 512k')
      await image.isSound()
    })
  },
)
