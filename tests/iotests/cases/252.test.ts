import { iotest } from '../src/harness.ts'

iotest(
  '252',
  'an image without a backing file that gets one',
  {
    formats: ['qcow2'],
    groups: ['rw', 'backing', 'auto', 'quick'],
    // Version 2 has no zero clusters; QEMU then shows the new backing file.
    unsupportedOptions: ['compat=0.10'],
  },
  async (t) => {
    const cluster = t.clusterSize
    const at = (first: number, count: number): string => `${first * cluster} ${count * cluster}`
    const top = await t.create({ size: 6 * cluster })
    const base = await t.create({ name: 'base', size: 6 * cluster })
    await top.io([`write -P 0x22 ${at(0, 2)}`, `write -P 0x11 ${at(2, 2)}`])
    await base.io([0, 2, 4].map((first) => `write -P 0x11 ${at(first, 1)}`))
    const shows = () =>
      top.io([`read -P 0x22 ${at(0, 2)}`, `read -P 0x11 ${at(2, 2)}`, `read -P 0 ${at(4, 2)}`])

    await t.section('none again', async () => {
      await top.img(['rebase', '-f', t.format, '-b', '', top.path])
      await shows()
    })
    await t.section('a real one', async () => {
      await top.img(['rebase', '-f', t.format, '-b', base.path, '-F', t.format, top.path])
      await shows()
      // Zeroes hide the data of the backing file; where it has none, nothing is written.
      const [last, hidden] = [...(await top.map())].reverse()
      t.equal([last!.start, last!.depth, last!.zero], [5 * cluster, 1, true])
      t.equal([hidden!.start, hidden!.depth, hidden!.zero, hidden!.data], [4 * cluster, 0, true, false])
      await top.isSound()
    })
  },
)
