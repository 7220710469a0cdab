import { iotest } from '../src/harness.ts'

const MIB = 1024 * 1024

iotest(
  '011',
  'overlapping asynchronous writes',
  { formats: ['generic'], groups: ['rw', 'auto', 'quick'] },
  async (t) => {
    const image = await t.create({ size: '6G' })
    for (let mib = 1; mib <= 4; mib++) {
      const offset = mib * MIB
      const result = await image.io([
        `aio_write -P 0x5a ${offset} 1M`,
        `aio_write -P 0x5a ${offset + 512} 1M`,
        'aio_flush',
        `read -P 0x5a ${offset} 1049088`,
      ])
      t.equal(result.reports.length, 3)
    }
    await image.isSound()
  },
)
