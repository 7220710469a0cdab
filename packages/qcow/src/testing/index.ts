/** What the tests of all formats have to know about qcow. */
import type { TestedFormat } from '@vmblock/block-core/testing'
import { qcow } from '../driver.ts'

/** Version 1 of qcow. Over a backing file its clusters have 512 bytes. */
export const format: TestedFormat = {
  driver: qcow,
  inQemu: true,
  clusterSize: 4096,
  resizes: 'not at all',
  discards: 'nothing',
  checks: 'no',
  varieties: [{ create: {}, suites: ['iotests', 'turns', 'kills', 'faults', 'mishaps'] }],
}
