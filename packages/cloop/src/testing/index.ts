/** What the tests of all formats have to know about cloop. */
import type { TestedFormat } from '@vmblock/block-core/testing'
import { cloop } from '../driver.ts'
import { cloopImage } from './images.ts'

export { type CloopWishes, cloopImage } from './images.ts'

/** Images are neither made nor written: none of the suites runs on them. */
export const format: TestedFormat = {
  driver: cloop,
  inQemu: true,
  clusterSize: 65536,
  resizes: 'not at all',
  discards: 'nothing',
  checks: 'no',
  varieties: [],
  samples: () => {
    const content = Uint8Array.from({ length: 16384 }, (_, i) => i >> 4)
    return [
      { name: 'blocks', bytes: cloopImage(content) },
      { name: 'one block', bytes: cloopImage(content, { blockSize: 16384 }) },
    ]
  },
}
