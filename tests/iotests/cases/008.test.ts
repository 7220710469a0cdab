import { iotest } from '../src/harness.ts'

iotest(
  '008',
  'asynchronous vectored requests',
  { formats: ['generic'], groups: ['rw', 'auto', 'quick'] },
  async (t) => {
    const image = await t.create({ size: '4M' })
    await image.io('aio_read -P 0 0 4M')
    await image.io('aio_write -P 0xa 0 4M')
    await image.io('aio_read -P 0xa 0 4M')

    await t.section('many requests in flight, of several buffers each', async () => {
      const offsets = Array.from({ length: 32 }, (_, i) => i * 96 * 1024)
      const result = await image.io([
        ...offsets.map((offset, i) => `aio_write -P ${i + 1} ${offset} 4k 28k`),
        'aio_flush',
        ...offsets.map((offset, i) => `aio_read -P ${i + 1} ${offset} 28k 4k`),
      ])
      t.equal(result.reports.filter((report) => report.verb === 'wrote').length, 32)
      t.equal(result.reports.filter((report) => report.verb === 'read').length, 32)
      await image.io(offsets.map((offset) => `read -P 0xa ${offset + 32 * 1024} 64k`))
    })
    await image.isSound()
  },
)
