/** What the tests of all formats have to know about the parallels format. */
import type { TestedFormat } from '@vmblock/block-core/testing'
import { parallels } from '../driver.ts'

/** Name the suites that shall run on it: iotests, turns, kills, faults, mishaps. */
export const format: TestedFormat = {
  driver: parallels,
  inQemu: false,
  clusterSize: 4096,
  resizes: 'not at all',
  discards: 'nothing',
  checks: 'no',
  varieties: [{ create: {}, suites: [] }],
}
