/** What the tests of all formats have to know about the cloop format. */
import type { TestedFormat } from '@vmblock/block-core/testing'
import { cloop } from '../driver.ts'

/** Name the suites that shall run on it: iotests, turns, kills, faults, mishaps. */
export const format: TestedFormat = {
  driver: cloop,
  inQemu: false,
  clusterSize: 4096,
  resizes: 'not at all',
  discards: 'nothing',
  checks: 'no',
  varieties: [{ create: {}, suites: [] }],
}
