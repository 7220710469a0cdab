import { iotest } from '../src/harness.ts'

const CLUSTER = 4096

iotest(
  '313',
  'committing zeroes over more refcount blocks than the cache holds',
  { formats: ['qcow2'], groups: ['rw', 'auto', 'quick'], ownOptions: true },
  async (t) => {
    const options = { cluster_size: '4k', refcount_bits: '64' }
    const size = (510 * 4 - 2) * CLUSTER // four blocks of 512 refcounts, less the tables
    const base = await t.create({ name: 'base.qcow2', size, options })
    await base.io(`write -P 1 0 ${size}`)
    const image = await t.create({ name: 'top.qcow2', size, options, backing: base })
    await image.io(`write -z 0 ${size}`)
    t.equal((await t.img(['commit', image.path])).text, 'Image committed.\n')
    await base.io(`read -P 0 0 ${size}`)
    await base.isSound()
    await image.isSound()
  },
)
