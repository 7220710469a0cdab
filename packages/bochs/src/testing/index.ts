/** What the tests of all formats have to know about Bochs's images. */
import type { TestedFormat } from '@vmblock/block-core/testing'
import { bochs } from '../driver.ts'

export { type BochsWishes, bochsImage } from './images.ts'

/** Images are neither made nor written: none of the suites runs on them. */
export const format: TestedFormat = {
  driver: bochs,
  inQemu: true,
  clusterSize: 32768,
  resizes: 'not at all',
  discards: 'nothing',
  checks: 'no',
  varieties: [],
}
