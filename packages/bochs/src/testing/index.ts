/** What the tests of all formats have to know about Bochs's images. */
import type { TestedFormat } from '@vmblock/block-core/testing'
import { bochs } from '../driver.ts'
import { bochsImage } from './images.ts'

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
  samples: () => {
    const content = Uint8Array.from({ length: 32768 }, (_, i) => (i % 3072 < 1024 ? 0 : i >> 4))
    return [
      { name: 'small extents', bytes: bochsImage(content) },
      { name: 'version 1, backwards', bytes: bochsImage(content, { version: 1, backwards: true }) },
      { name: 'one extent', bytes: bochsImage(content, { extentSize: 32768 }) },
    ]
  },
}
