import { Contents } from '../src/contents.ts'
import { iotest } from '../src/harness.ts'

const MIB = 1024 * 1024

iotest(
  '025',
  'growing an image while it is open',
  { formats: ['raw', 'qcow2', 'qed'], groups: ['rw', 'auto', 'quick'] },
  async (t) => {
    const image = await t.create({ size: 4 * MIB })
    await image.io('write -P 0xc5 0 4M')
    await image.isSound()

    const result = await image.io(['length', `truncate ${12 * MIB}`, 'length'])
    t.equal(result.lines, ['4 MiB', '12 MiB'])
    await image.isSound()
    t.equal((await image.io('length')).lines, ['12 MiB'])
    t.equal(await image.size(), 12 * MIB)
    await image.holds(new Contents(12 * MIB).fill(0, 4 * MIB, 0xc5))
  },
)
