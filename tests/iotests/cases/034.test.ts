import { Contents } from '../src/contents.ts'
import { iotest } from '../src/harness.ts'

const KIB = 1024

iotest(
  '034',
  'zero writes hide the backing file',
  {
    formats: ['qcow2', 'qed'],
    groups: ['rw', 'backing', 'auto', 'quick'],
    unsupportedOptions: ['cluster_size', 'extended_l2'],
  },
  async (t) => {
    const options = { cluster_size: '4k' }
    const base = await t.create({ name: 'base.qcow2', size: '128M', options })
    await base.io('write -P 0x55 0 1M')
    const image = await t.create({ size: '6G', options, backing: base })
    const contents = new Contents(2048 * KIB).fill(0, 1024 * KIB, 0x55)
    const write = async (commands: readonly (readonly [kib: number, length: number, byte: number])[]) => {
      for (const [kib, length, byte] of commands) {
        await image.io(byte === 0 ? `write -z ${kib}k ${length}k` : `write -P ${byte} ${kib}k ${length}k`)
        contents.fill(kib * KIB, length * KIB, byte)
      }
      await image.isSound()
      await image.holds(contents)
    }
    await t.section('over data of the backing file, aligned and not', () =>
      write([
        [64, 192, 0],
        [513, 13, 0],
      ]),
    )
    await t.section('data over the zeroes', () =>
      write([
        [60, 8, 0xa],
        [64, 8, 0xb],
        [76, 4, 0xc],
        [252, 8, 0xd],
        [248, 8, 0xe],
      ]),
    )
    await t.section('zeroes again', () => write([[64, 192, 0]]))
  },
)
