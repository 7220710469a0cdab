import { iotest } from '../src/harness.ts'

iotest(
  '079',
  'preallocated metadata at every cluster size',
  { formats: ['qcow2'], groups: ['rw', 'auto'], ownOptions: true },
  async (t) => {
    for (const cluster_size of ['16k', '32k', '64k', '128k', '256k', '512k', '1M', '2M']) {
      await t.section(cluster_size, async () => {
        const image = await t.create({ size: '4G', options: { preallocation: 'metadata', cluster_size } })
        await image.isSound()
        const length = await image.fileSize()
        t.equal(length > 4 * 1024 ** 3, true)
        await image.io(['write -P 3 1G 64k', 'write -P 4 4095M 1M', 'read -P 3 1G 64k', 'read -P 0 2G 1M'])
        t.equal(await image.fileSize(), length)
        await image.isSound()
      })
    }
  },
)
