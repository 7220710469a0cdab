/** The contract of all drivers for the vmdk format. */
import { formatContract } from '@vmblock/block-core/testing'
import { vmdk } from './driver.ts'

formatContract(vmdk, { knowsZeroes: true, granularity: 4096 })
