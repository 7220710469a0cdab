/** The contract of all drivers for the dmg format. */
import { formatContract } from '@vmblock/block-core/testing'
import { dmg } from './driver.ts'

formatContract(dmg, { knowsZeroes: true, granularity: 4096 })
