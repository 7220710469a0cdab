/** The contract of all drivers for the vpc format. */
import { formatContract } from '@vmblock/block-core/testing'
import { vpc } from './driver.ts'

formatContract(vpc, { knowsZeroes: true, granularity: 4096 })
