import { iotest } from '../src/harness.ts'

iotest(
  '047',
  'writing around a discarded stretch',
  { formats: ['qcow2'], groups: ['rw', 'auto', 'quick'] },
  async (t) => {
    const image = await t.create({ size: '128M' })
    await image.io([
      'write -P 0x66 0 320k',
      'write 320k 128k',
      'write -P 0x55 1M 128k',
      'write -P 0x88 448k 128k',
      'discard 320k 128k',
      'aio_flush',
      'write -P 0x77 0 480k',
      'aio_flush',
      'read -P 0x77 0 480k',
      'read -P 0x88 480k 96k',
      'read -P 0x55 1M 128k',
    ])
    await image.io(['read -P 0x77 0 480k', 'read -P 0x88 480k 96k', 'read -P 0x55 1M 128k'])
    await image.isSound()
  },
)
