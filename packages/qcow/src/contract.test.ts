/** The contract of all drivers for qcow: with clusters of either size. */
import { formatContract } from '@vmblock/block-core/testing'
import { qcow } from './driver.ts'

formatContract(qcow, { knowsZeroes: true, granularity: 4096 })
formatContract(qcow, {
  name: 'qcow over a backing file',
  create: { backing_file: 'base' },
  overBacking: true,
  granularity: 512,
})
