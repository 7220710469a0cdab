import { iotest } from '../src/harness.ts'

iotest(
  '032',
  'closing waits for requests in flight',
  { formats: ['generic'], groups: ['rw', 'auto', 'quick'] },
  async (t) => {
    const image = await t.create({ size: '64M' })
    // every second 64 KiB, so that the next write meets allocated and free clusters
    await image.io(Array.from({ length: 17 }, (_, i) => `write ${i * 128}k 64k`))
    const result = await image.io(['aio_write -P 0x21 0 2M', 'close'])
    t.equal(result.reports, [{ verb: 'wrote', done: 2_097_152, wanted: 2_097_152, offset: 0 }])
    await image.io(['read -P 0x21 0 2M', 'read -P 0xcd 2M 64k'])
    await image.isSound()
  },
)
