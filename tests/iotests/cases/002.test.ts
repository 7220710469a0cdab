import { Contents } from '../src/contents.ts'
import { iotest } from '../src/harness.ts'

const MIB = 1024 * 1024

iotest(
  '002',
  'requests of any byte length at any byte offset',
  { formats: ['generic'], groups: ['rw', 'auto', 'quick'] },
  async (t) => {
    const image = await t.create({ size: 4 * MIB })
    const contents = new Contents(4 * MIB)
    await image.io('read -p -P 0 0 4M')
    await image.io('write -p -P 0xa 0 4M')
    contents.fill(0, 4 * MIB, 0xa)
    await image.holds(contents)

    const writes = [
      [66, 42, 0xab], // inside one sector
      [512, 288, 0xac], // from a sector's start
      [800, 224, 0xad], // to a sector's end
      [66_000, 128 * 1024, 0xae], // over several clusters
      [256 * 1024, 42, 0xaf], // from a cluster's start
      [4 * MIB - 1, 1, 0xb0], // the last byte
    ] as const
    for (const [offset, bytes, byte] of writes) {
      await image.io(`write -p -P ${byte} ${offset} ${bytes}`)
      contents.fill(offset, bytes, byte)
    }
    await image.holds(contents)
    await image.isSound()
  },
)
