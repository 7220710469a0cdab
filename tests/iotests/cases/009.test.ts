import { iotest } from '../src/harness.ts'

iotest(
  '009',
  'data between two written areas is found',
  { formats: ['generic'], groups: ['rw', 'auto', 'quick'] },
  async (t) => {
    const image = await t.create({ size: '6G' })
    await image.io([
      'write -P 65 2048k 4k',
      'write 4k 4k',
      'write 9M 4k',
      // the first half belongs to an unallocated range before the written one
      'read -P 65 -s 4k -l 4k 2044k 8k',
      'read -P 0 2044k 4k',
    ])
    await image.isSound()
  },
)
