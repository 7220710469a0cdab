import { iotest } from '../src/harness.ts'

iotest(
  '052',
  'temporary snapshot mode',
  { formats: ['generic'], groups: ['rw', 'auto', 'quick'], caches: ['writeback', 'writethrough', 'unsafe'] },
  async (t) => {
    const image = await t.create({ size: '16M' })
    await image.io(['write -z 0 16M', 'write -P 4 1M 1M'])
    await image.io(['read -P 4 1M 1M', 'read -P 0 2M 14M'], { snapshot: true })
    await image.io(['write -P 0xa 0 16M', 'read -P 0xa 0 16M'], { snapshot: true })
    await image.io(['read -P 0 0 1M', 'read -P 4 1M 1M', 'read -P 0 2M 14M'])
    await image.isSound()
  },
)
