/** The contract of all drivers for the bochs format. */
import { formatContract } from '@vmblock/block-core/testing'
import { bochs } from './driver.ts'

formatContract(bochs, { knowsZeroes: true, granularity: 4096 })
