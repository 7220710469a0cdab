import { iotest } from '../src/harness.ts'

iotest(
  '035',
  'parallel allocations under many L2 tables',
  {
    formats: ['qcow2'],
    groups: ['rw', 'auto', 'quick'],
    unsupportedOptions: ['cluster_size', 'extended_l2'],
  },
  async (t) => {
    const image = await t.create({ size: '6G', options: { cluster_size: '512' } })
    // three at a time for the same cluster; one table maps 32 KiB, so each offset has a table of its own
    const offsets = Array.from({ length: 64 }, (_, i) => `${i}M`)
    const writes = offsets.flatMap((offset) => Array<string>(3).fill(`aio_write -P 0x44 ${offset} 512`))
    const result = await image.io(writes)
    t.equal(result.reports.length, 192)
    await image.isSound()
    await image.io(offsets.flatMap((offset) => [`read -P 0x44 ${offset} 512`]))
  },
)
