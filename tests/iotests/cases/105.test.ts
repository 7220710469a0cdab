import { iotest } from '../src/harness.ts'

const TIB = 1024 ** 4

iotest(
  '105',
  'an image of 16 TiB',
  // the L1 table of smaller clusters, and the host's limit on a data file's length, end earlier
  {
    formats: ['qcow2', 'qed'],
    groups: ['rw', 'auto', 'quick'],
    unsupportedOptions: ['data_file', 'cluster_size=512'],
  },
  async (t) => {
    const image = await t.create({ size: '16T' })
    t.equal(await image.size(), 16 * TIB)
    await image.io('read -P 0 1024 4096')
    await image.io(['write -P 1 8192 4096', 'read -P 1 8192 4096'])
    await image.io(['read -P 0 14T 4096', 'write -P 2 14T 4096', 'read -P 2 14T 4096'])
    await image.io([`write -P 3 ${16 * TIB - 512} 512`, `read -P 3 ${16 * TIB - 512} 512`])
    await image.io(['read -P 1 8192 4096', 'read -P 2 14T 4096'])
    await image.isSound()
  },
)
