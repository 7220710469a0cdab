/** The contract of all drivers for the vhdx format. */
import { formatContract } from '@vmblock/block-core/testing'
import { vhdx } from './driver.ts'

formatContract(vhdx, { knowsZeroes: true, granularity: 4096 })
