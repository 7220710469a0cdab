/** The contract of all drivers for QED, with default clusters, small ones, and over a backing file. */
import { formatContract } from '@vmblock/block-core/testing'
import { qed } from './driver.ts'

const small = { cluster_size: 4096, table_size: 2 }

formatContract(qed, { truncate: 'grow', knowsZeroes: true, granularity: 65536 })
formatContract(qed, {
  name: 'qed with 4 KiB clusters',
  create: small,
  truncate: 'grow',
  knowsZeroes: true,
  granularity: 4096,
})
formatContract(qed, {
  name: 'qed over a backing file',
  create: { ...small, table_size: 1 },
  overBacking: true,
  truncate: 'grow',
  knowsZeroes: false,
  granularity: 4096,
})
