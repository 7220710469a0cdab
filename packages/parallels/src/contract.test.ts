/** The contract of all drivers for the parallels format. */
import { formatContract } from '@vmblock/block-core/testing'
import { parallels } from './driver.ts'

formatContract(parallels, { knowsZeroes: true, granularity: 4096 })
