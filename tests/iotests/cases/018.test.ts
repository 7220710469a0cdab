import { Contents } from '../src/contents.ts'
import { iotest } from '../src/harness.ts'

const KIB = 1024
const GIB = 1024 ** 3

iotest(
  '018',
  'converting an overlay makes a disk that stands alone',
  {
    formats: ['qcow2', 'qed'],
    groups: ['rw', 'backing', 'auto', 'quick'],
    unsupportedOptions: ['cluster_size=512', 'data_file'],
  },
  async (t) => {
    const size = 6 * GIB
    const starts = [0, 4 * GIB]
    const contents = new Contents(size)
    const write = (offset: number, bytes: number, byte: number): string => {
      contents.fill(offset, bytes, byte)
      return `write -P ${byte} ${offset} ${bytes}`
    }
    const base = await t.create({ name: 'base', size })
    // Every second 4 KiB, and a range that the overlay does not touch.
    for (const start of starts) {
      const pieces = Array.from({ length: 16 }, (_, i) => write(start + i * 8 * KIB, 4 * KIB, 1 + i))
      await base.io([...pieces, write(start + 256 * KIB, 128 * KIB, 99)])
    }
    const overlay = await t.create({ size, backing: base })
    for (const start of starts) {
      const pieces = Array.from({ length: 8 }, (_, i) => write(start + (4 + i * 16) * KIB, 4 * KIB, 101 + i))
      await overlay.io([...pieces, write(start + 512 * KIB, 64 * KIB, 200)])
    }

    await t.section('with what both of them hold', async () => {
      const alone = t.image('alone')
      await alone.img(['convert', '-f', t.format, '-O', t.format, overlay.path, alone.path])
      t.equal((await alone.info())['backing-filename'], undefined)
      for (const start of starts) await alone.holds(contents, start, start + 1024 * KIB)
      await alone.isSound()
      await alone.img(['compare', '-f', t.format, '-F', t.format, overlay.path, alone.path])
    })
  },
)
