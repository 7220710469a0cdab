import { Contents } from '../src/contents.ts'
import { iotest } from '../src/harness.ts'

const MIB = 1024 * 1024
const SIZE = 64 * MIB

iotest(
  '177',
  'a driver of narrow limits, above the format',
  {
    formats: ['qcow2'],
    groups: ['rw', 'auto', 'quick'],
    unsupportedOptions: ['cluster_size', 'extended_l2'],
    timeout: 60_000,
  },
  async (t) => {
    const options = { cluster_size: '1M' }
    const base = await t.create({ name: 'base.qcow2', size: SIZE, options })
    await base.io(`write -P 11 0 ${SIZE}`)
    const image = await t.create({ size: SIZE, options, backing: base })
    await image.io(`write -P 22 0 56M`)
    const contents = new Contents(SIZE).fill(0, SIZE, 11).fill(0, 56 * MIB, 22)

    const limited = (limits: string, ...commands: string[]) =>
      image.io(
        [`open -o driver=blkdebug,image.driver=qcow2,${limits} blkdebug::${image.path}`, ...commands],
        {
          noFile: true,
        },
      )
    await t.section('alignment of 4 KiB, transfers of 64 KiB', async () => {
      await limited('align=4k,max-transfer=64k', 'write -P 33 1000 128k', 'read -P 33 1000 128k')
      contents.fill(1000, 128 * 1024, 33)
    })
    await t.section('zero writes with short transfers', async () => {
      await limited('align=512,max-transfer=64k,opt-write-zero=1M', 'write -z 8003584 2093056')
      contents.fill(8_003_584, 2_093_056, 0)
    })
    const odd = 'align=512,opt-write-zero=7M,max-write-zero=7M,opt-discard=7M,max-discard=7M'
    await t.section('limits that are no power of two', async () => {
      await limited(odd, 'write -z 16M 16M')
      contents.fill(16 * MIB, 16 * MIB, 0)
      await limited(odd, 'discard 40000001 14M')
    })
    // a v2 overlay cannot drop data without showing the backing file, so it keeps the data
    const v2 = t.variant.options['compat'] === '0.10'
    if (!v2) {
      // outside of the range that the discard may have changed
      const touched = [
        Math.ceil(40_000_001 / MIB) * MIB,
        Math.floor((40_000_001 + 14 * MIB) / MIB) * MIB,
      ] as const
      await image.holds(contents, 0, touched[0])
      await image.holds(contents, touched[1])
      await image.io(`read -P 0 ${touched[0]} ${touched[1] - touched[0]}`)
    } else {
      await image.holds(contents)
    }
    await image.isSound()
  },
)
