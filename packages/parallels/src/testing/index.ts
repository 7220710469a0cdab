/** What the tests of all formats have to know about Parallels images. */
import type { TestedFormat } from '@vmblock/block-core/testing'
import { parallels } from '../driver.ts'

/** Parallels: a mark says that an image was not closed, and the file is longer than its data until then. */
export const format: TestedFormat = {
  driver: parallels,
  inQemu: true,
  clusterSize: 2 ** 20,
  resizes: 'not at all',
  reopensInQemu: false,
  discards: 'perhaps',
  checks: 'leaks go',
  varieties: [
    {
      create: {},
      // Not `kills`: the info of QEMU does not tell of the mark.
      suites: ['iotests', 'turns', 'faults'],
      small: { cluster_size: '4k' },
      dirty: 'all',
    },
    { create: { cluster_size: '4k' }, suites: ['turns'], dirty: 'all' },
    // As in older versions of Parallels: no power of two.
    { create: { cluster_size: '32256' }, suites: ['turns'], dirty: 'all' },
  ],
}
