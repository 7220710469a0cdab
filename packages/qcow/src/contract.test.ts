/** The contract of all drivers for the qcow format. */
import { formatContract } from '@vmblock/block-core/testing'
import { qcow } from './driver.ts'

formatContract(qcow, { knowsZeroes: true, granularity: 4096 })
