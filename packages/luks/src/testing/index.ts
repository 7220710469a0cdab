/** What the tests of all formats have to know about the luks format. */
import type { TestedFormat } from '@vmblock/block-core/testing'
import { luks } from '../driver.ts'

/**
 * A new disk is noise, and every image needs a key: suites that make their images from options alone cannot use it. Its own tests
 * do what they do.
 */
export const format: TestedFormat = {
  driver: luks,
  inQemu: true,
  clusterSize: 512,
  resizes: 'both ways',
  discards: 'nothing',
  checks: 'no',
  varieties: [{ create: {}, suites: [] }],
}
