import { Contents } from '../src/contents.ts'
import { iotest } from '../src/harness.ts'

const MIB = 1024 * 1024

iotest(
  '265',
  'allocations from the end to the start',
  {
    formats: ['generic'],
    groups: ['rw', 'auto', 'quick'],
    unsupportedOptions: ['cluster_size', 'extended_l2'],
  },
  async (t) => {
    const image = await t.create({
      size: MIB,
      ...(t.format === 'qcow2' ? { options: { cluster_size: '4k' } } : {}),
    })
    const contents = new Contents(MIB)
    const offsets = Array.from({ length: 256 }, (_, i) => (255 - i) * 4096 + 1024)
    await image.io(offsets.map((offset) => `aio_write -P 42 ${offset} 2k`))
    for (const offset of offsets) contents.fill(offset, 2048, 42)
    await image.holds(contents)
    await image.isSound()
  },
)
