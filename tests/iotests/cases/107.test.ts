import { iotest } from '../src/harness.ts'

iotest(
  '107',
  'the rest of a table is written as zeroes, not as whatever was in memory',
  { formats: ['qcow2'], groups: ['rw', 'auto', 'quick'] },
  async (t) => {
    const image = await t.create({ size: '64k' })
    await image.io('write -P 0xff 0 64k')
    const { l1Offset, l1Size, clusterSize } = await image.header()
    const tail = await image.peek(l1Offset + l1Size * 8, clusterSize - l1Size * 8)
    t.equal(
      tail.every((byte) => byte === 0),
      true,
    )
  },
)
