import { iotest } from '../src/harness.ts'

iotest(
  '090',
  'discarding a compressed cluster',
  { formats: ['qcow2'], groups: ['rw', 'auto', 'quick'], unsupportedOptions: ['data_file'] },
  async (t) => {
    const cluster = t.clusterSize
    const image = await t.create({ size: 4 * cluster })
    await image.io([
      `write -c -P 42 0 ${cluster}`,
      `write -c -P 23 ${cluster} ${cluster}`,
      `discard ${cluster} ${cluster}`,
    ])
    // The neighbor may lie in the same host cluster.
    await image.io([`read -P 42 0 ${cluster}`, `read -P 0 ${cluster} ${cluster}`])
    await image.isSound()
    await image.io([`discard 0 ${cluster}`, `read -P 0 0 ${4 * cluster}`])
    await image.isSound()
  },
)
