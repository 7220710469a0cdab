/** The contract of all drivers for the vdi format. */
import { formatContract } from '@vmblock/block-core/testing'
import { vdi } from './driver.ts'

formatContract(vdi, { knowsZeroes: true, granularity: 4096 })
