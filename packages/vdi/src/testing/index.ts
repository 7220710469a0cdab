/** What the tests of all formats have to know about VDI. */
import type { TestedFormat } from '@vmblock/block-core/testing'
import { vdi } from '../driver.ts'

/** VDI: large blocks, which a discard leaves where they are. */
export const format: TestedFormat = {
  driver: vdi,
  inQemu: true,
  clusterSize: 2 ** 20,
  resizes: 'both ways',
  resizesInQemu: false,
  discards: 'perhaps',
  checks: 'leaks go',
  varieties: [
    { create: {}, suites: ['iotests', 'turns', 'kills', 'faults'] },
    { create: { static: 'on' }, suites: ['turns'] },
  ],
}
