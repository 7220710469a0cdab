/** The contract of all drivers for the luks format. */
import { formatContract } from '@vmblock/block-core/testing'
import { luks } from './driver.ts'

formatContract(luks, { knowsZeroes: true, granularity: 4096 })
