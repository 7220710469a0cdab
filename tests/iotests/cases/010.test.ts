import { iotest } from '../src/harness.ts'

iotest(
  '010',
  'neighbouring clusters far apart in the file',
  { formats: ['generic'], groups: ['rw', 'auto', 'quick'] },
  async (t) => {
    const image = await t.create({ size: '6G' })
    await image.io([
      'write -P 165 2048k 4k',
      'write 64k 4k',
      'write 9M 4k',
      'write -P 165 2044k 4k',
      'write -P 99 8M 4k',
      'read -P 165 2044k 8k',
      'read -P 99 8M 4k',
    ])
    await image.isSound()
  },
)
