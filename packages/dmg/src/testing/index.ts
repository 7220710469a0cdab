/** What the tests of all formats have to know about dmg. */
import type { TestedFormat } from '@vmblock/block-core/testing'
import { dmg } from '../driver.ts'

export { type DmgChunk, type DmgWishes, dmgImage } from './images.ts'

/** Images are neither made nor written: none of the suites runs on them. */
export const format: TestedFormat = {
  driver: dmg,
  inQemu: true,
  clusterSize: 262144,
  resizes: 'not at all',
  discards: 'nothing',
  checks: 'no',
  varieties: [],
}
