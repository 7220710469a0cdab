/** The contract of all drivers for the cloop format. */
import { formatContract } from '@vmblock/block-core/testing'
import { cloop } from './driver.ts'

formatContract(cloop, { knowsZeroes: true, granularity: 4096 })
