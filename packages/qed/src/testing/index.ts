/** What the tests of all formats have to know about QED. */
import type { TestedFormat } from '@vmblock/block-core/testing'
import { qed } from '../driver.ts'

/** QED: leaks are never repaired, and without a backing file a bit in the header stands for flushes. */
export const format: TestedFormat = {
  driver: qed,
  inQemu: true,
  clusterSize: 65536,
  resizes: 'growing',
  discards: 'nothing',
  checks: 'leaks stay',
  varieties: [
    {
      create: {},
      suites: ['iotests', 'turns', 'kills', 'faults', 'mishaps'],
      // QEMU does not open images with tables of one cluster.
      small: { cluster_size: '4k', table_size: '2' },
      dirty: 'without backing file',
    },
    { create: { cluster_size: '4k', table_size: '2' }, suites: ['turns'] },
    { create: { cluster_size: '16k', table_size: '16' }, suites: ['turns'] },
  ],
}
