import { iotest } from '../src/harness.ts'

const CLUSTER = 4096

iotest(
  '022',
  'the VM state area',
  { formats: ['qcow2'], groups: ['rw', 'auto'], unsupportedOptions: ['cluster_size', 'extended_l2'] },
  async (t) => {
    const image = await t.create({ size: '1G', options: { cluster_size: '4k' } })
    await image.io('write -P 0x11 0 64k')
    // full clusters, the ends and the middles of clusters, several clusters, and across the end of an L2
    // table
    const table = (CLUSTER / 8) * CLUSTER
    const requests = [10 * 1024 ** 2, 4 * 1024 ** 3].flatMap((base) => [
      ...[0, 1, 2, 3].map((i) => [base + i * CLUSTER, CLUSTER]),
      ...[4, 5].map((i) => [base + i * CLUSTER + CLUSTER / 2, CLUSTER / 2]),
      ...[6, 7].map((i) => [base + i * CLUSTER, CLUSTER / 2]),
      ...[8, 9].map((i) => [base + i * CLUSTER + CLUSTER / 4, CLUSTER / 2]),
      [base + 10 * CLUSTER + CLUSTER / 2, 2 * CLUSTER],
      [Math.ceil(base / table) * table + table - 1.5 * CLUSTER, 3 * CLUSTER],
    ])
    const commands = (verb: string) =>
      requests.map(([offset, bytes], i) => `${verb} -b -P ${i + 1} ${offset} ${bytes}`)
    await image.io(commands('write'))
    await image.io(commands('read'))
    await image.io(['read -P 0x11 0 64k', 'read -P 0 64k 1M'])
    t.equal(await image.size(), 1024 ** 3, 'the guest does not see it')
    await image.isSound()
  },
)
