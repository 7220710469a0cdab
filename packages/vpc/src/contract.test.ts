/** The contract of all drivers for VHD: fixed and dynamic images, and differencing ones. */
import { formatContract } from '@vmblock/block-core/testing'
import { vpc } from './driver.ts'

const exact = { force_size: true }

formatContract(vpc, { create: exact, truncate: 'grow', knowsZeroes: true, granularity: 65536 })
formatContract(vpc, {
  name: 'vpc, fixed',
  create: { ...exact, subformat: 'fixed' },
  truncate: 'grow',
  granularity: 4096,
})
formatContract(vpc, {
  name: 'vpc, differencing',
  create: { subformat: 'differencing' },
  overBacking: true,
  truncate: 'grow',
  granularity: 4096,
})
