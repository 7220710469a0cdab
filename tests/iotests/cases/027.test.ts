import { iotest } from '../src/harness.ts'

iotest(
  '027',
  'a write smaller than a cluster leaves the rest zero',
  { formats: ['qcow2', 'qed'], groups: ['rw', 'auto', 'quick'] },
  async (t) => {
    const image = await t.create({ size: '128M' })
    // the adjacent cluster first, so that tables exist already
    await image.io('write -P 0xde 64k 64k')
    await image.io('write -P 0xa 1024 2048')
    await image.io([
      'read -P 0xa 1024 2048',
      'read -P 0 -l 1024 0 2048',
      'read -P 0 -l 512 -s 2048 1024 2560',
      'read -P 0 3072 62464',
      'read -P 0xde 64k 64k',
    ])
    await image.isSound()
  },
)
