import { iotest } from '../src/harness.ts'

iotest(
  '052',
  'temporary snapshot mode',
  { formats: ['generic'], groups: ['rw', 'auto', 'quick'], caches: ['writeback', 'writethrough', 'unsafe'] },
  async (t) => {
    const image = await t.create({ size: '4M' })
    await image.io(['write -z 0 4M', 'write -P 4 1M 1M'])
    await image.io(['read -P 4 1M 1M', 'read -P 0 2M 2M'], { snapshot: true })
    await image.io(['write -P 0xa 0 4M', 'read -P 0xa 0 4M'], { snapshot: true })
    await image.io(['read -P 0 0 1M', 'read -P 4 1M 1M', 'read -P 0 2M 2M'])
    await image.isSound()
  },
)
