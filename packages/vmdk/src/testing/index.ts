/** What the tests of all formats have to know about the vmdk format. */
import type { TestedFormat } from '@vmblock/block-core/testing'
import { vmdk } from '../driver.ts'

/** VMDK: a stream cannot be written a second time by QEMU, so it takes no turns with it. */
export const format: TestedFormat = {
  driver: vmdk,
  inQemu: true,
  clusterSize: 65536,
  resizes: 'not at all',
  discards: 'nothing',
  checks: 'leaks stay',
  varieties: [
    { create: {}, suites: ['turns', 'kills', 'faults', 'mishaps'] },
    { create: { zeroed_grain: 'on' }, suites: ['turns'] },
    { create: { subformat: 'monolithicFlat' }, suites: [] },
    { create: { subformat: 'twoGbMaxExtentSparse' }, suites: [] },
    { create: { subformat: 'twoGbMaxExtentFlat' }, suites: [] },
    { create: { subformat: 'streamOptimized' }, suites: [] },
  ],
}
