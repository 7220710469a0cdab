/** The contract of all drivers for VDI: QEMU's blocks, small ones, and images that are allocated from the start. */
import { formatContract } from '@vmblock/block-core/testing'
import { vdi } from './driver.ts'
import { smallVdi } from './testing/images.ts'

const common = { truncate: 'grow-and-shrink', discard: 'undefined' } as const

formatContract(vdi, { ...common, knowsZeroes: true, granularity: 2 ** 18, seeds: [1] })
formatContract(smallVdi, { ...common, name: 'vdi with 4 KiB blocks', knowsZeroes: true, granularity: 4096 })
formatContract(smallVdi, {
  ...common,
  name: 'fixed vdi',
  create: { static: true, block_size: 65536 },
  granularity: 65536,
})
