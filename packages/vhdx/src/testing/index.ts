/** What the tests of all formats have to know about VHDX. */
import type { TestedFormat } from '@vmblock/block-core/testing'
import { vhdx } from '../driver.ts'

/** VHDX: blocks are never freed, and a log stands for the order of writes. */
export const format: TestedFormat = {
  driver: vhdx,
  inQemu: true,
  clusterSize: 8 * 2 ** 20,
  resizes: 'not at all',
  discards: 'perhaps',
  checks: 'leaks stay',
  varieties: [
    { create: {}, suites: ['turns'], small: { block_size: '1M' } },
    { create: { block_size: '1M' }, suites: ['turns'] },
    { create: { subformat: 'fixed' }, suites: ['turns'] },
    {
      create: { block_size: '2M', log_size: '2M', block_state_zero: 'off' },
      suites: ['turns'],
      size: 5 * 2 ** 20,
    },
  ],
}
