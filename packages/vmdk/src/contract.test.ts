/** The contract of all drivers for VMDK, in the sub-formats that are one file, and over a backing file. */
import { formatContract } from '@vmblock/block-core/testing'
import { vmdk } from './driver.ts'

const common = { knowsZeroes: true, granularity: 65536 } as const

formatContract(vmdk, common)
formatContract(vmdk, { ...common, name: 'vmdk with zeroed grains', create: { zeroed_grain: true } })
formatContract(vmdk, { ...common, name: 'vmdk streamOptimized', create: { subformat: 'streamOptimized' } })
formatContract(vmdk, {
  ...common,
  name: 'vmdk over a backing file',
  create: { zeroed_grain: true },
  overBacking: true,
  knowsZeroes: false,
})
