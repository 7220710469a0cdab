import { iotest } from '../src/harness.ts'

iotest(
  '062',
  'a snapshot of zero clusters',
  {
    formats: ['qcow2'],
    groups: ['rw', 'auto', 'quick', 'snapshot'],
    unsupportedOptions: ['compat=0.10', 'refcount_bits=1', 'data_file'],
  },
  async (t) => {
    const image = await t.create({ size: '64M' })
    const cluster = t.clusterSize
    // Zero clusters with and without a host cluster.
    await image.io([`write -P 5 0 ${2 * cluster}`, `write -z 0 ${4 * cluster}`])
    await image.img(['snapshot', '-c', 'foo', image.path])
    await image.isSound()
    await image.io([`write -P 9 ${cluster} ${2 * cluster}`, `read -P 0 0 ${cluster}`])
    await image.isSound()
    await image.img(['snapshot', '-a', 'foo', image.path])
    await image.io(`read -P 0 0 ${4 * cluster}`)
    await image.img(['snapshot', '-d', 'foo', image.path])
    await image.isSound()
  },
)
