/** The contract of all drivers for VHDX: dynamic images, fixed ones, and with a log that is full after a few entries. */
import { formatContract } from '@vmblock/block-core/testing'
import { createVhdxDriver, vhdx } from './driver.ts'

const MIB = 2 ** 20

formatContract(vhdx, { create: { block_size: '1M' }, knowsZeroes: true, granularity: MIB })
formatContract(createVhdxDriver({ logLimit: 3 * 8192 }), {
  name: 'vhdx with a small log',
  create: { block_size: '1M', block_state_zero: 'off' },
  knowsZeroes: true,
  granularity: 4096,
})
formatContract(vhdx, { name: 'vhdx, fixed', create: { subformat: 'fixed' }, granularity: 4096 })
