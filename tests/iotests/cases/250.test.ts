import { iotest } from '../src/harness.ts'

const MIB = 1024 * 1024

iotest(
  '250',
  'a shrink gives host space back when clusters are out of order',
  {
    formats: ['qcow2'],
    groups: ['rw', 'auto', 'quick'],
    unsupportedOptions: ['data_file', 'cluster_size', 'extended_l2'],
  },
  async (t) => {
    const size = 128 * MIB
    const image = await t.create({ size, options: { cluster_size: '1M', preallocation: 'metadata' } })
    // the end and the start of the disk swap host offsets
    await image.io(['discard 0 10M', `discard ${size - 10 * MIB} 10M`])
    await image.io([`write -P 1 ${size - 10 * MIB} 10M`, 'write -P 2 0 10M'])
    const before = await image.diskUsage()
    const run = await t.img(['resize', '-f', 'qcow2', '--shrink', image.path, '5M'])
    t.equal([run.code, run.text], [0, 'Image resized.\n'])
    // without holes only the end of the file can be released
    if (!t.ours) t.equal(before - (await image.diskUsage()) >= 15 * MIB, true)
    t.equal((await image.diskUsage()) < before, true)
    await image.io('read -P 2 0 5M')
    await image.isSound()
  },
)
