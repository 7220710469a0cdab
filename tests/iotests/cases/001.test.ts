import { iotest } from '../src/harness.ts'

iotest(
  '001',
  'whole-image reads and writes',
  { formats: ['generic'], groups: ['rw', 'auto', 'quick'] },
  async (t) => {
    const image = await t.create({ size: '4M' })
    await t.section('a fresh image reads as zeroes', async () => {
      await image.io('read -P 0 0 4M')
    })
    await t.section('what is written over the whole image reads back', async () => {
      await image.io('write -P 0xa 0 4M')
      await image.io('read -P 0xa 0 4M')
      await image.isSound()
    })
  },
)
