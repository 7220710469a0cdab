import { iotest } from '../src/harness.ts'

iotest(
  '268',
  'an alignment above the cluster size',
  {
    formats: ['qcow2'],
    groups: ['rw', 'auto', 'quick'],
    unsupportedOptions: ['cluster_size', 'extended_l2'],
  },
  async (t) => {
    const image = await t.create({ size: '1M', options: { cluster_size: '2k' } })
    await image.io(
      [
        `open -o driver=qcow2,file.align=4k blkdebug::${image.path}`,
        'write -P 9 0 512',
        'write -P 8 100k 3k',
      ],
      { noFile: true },
    )
    await image.io(['read -P 9 0 512', 'read -P 0 512 1536', 'read -P 8 100k 3k'])
    await image.isSound()
  },
)
