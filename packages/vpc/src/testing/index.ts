/** What the tests of all formats have to know about VHD. */
import type { TestedFormat } from '@vmblock/block-core/testing'
import { vpc } from '../driver.ts'

/** VHD: images whose size is exact, as others grow to what a geometry expresses. */
export const format: TestedFormat = {
  driver: vpc,
  inQemu: true,
  clusterSize: 2 ** 21,
  resizes: 'growing',
  resizesInQemu: false,
  discards: 'perhaps',
  checks: 'no',
  varieties: [
    { create: { force_size: 'on' }, suites: ['turns', 'kills', 'faults', 'mishaps'] },
    { create: { force_size: 'on', subformat: 'fixed' }, suites: ['turns', 'kills'] },
  ],
}
