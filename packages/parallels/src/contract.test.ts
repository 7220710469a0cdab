/** The contract of all drivers for Parallels images: small clusters, those of old images, and over a backing file. */
import { formatContract } from '@vmblock/block-core/testing'
import { parallels } from './driver.ts'
import { oldParallels } from './testing/images.ts'

const common = { discard: 'undefined', knowsZeroes: true } as const

formatContract(parallels, { ...common, create: { cluster_size: 4096 }, granularity: 4096 })
formatContract(oldParallels, {
  ...common,
  name: 'parallels whose BAT counts sectors',
  create: { cluster_size: 32256 },
  granularity: 32256,
})
formatContract(parallels, {
  ...common,
  name: 'parallels over a backing file',
  create: { cluster_size: 65536 },
  overBacking: true,
  knowsZeroes: false,
  granularity: 65536,
})
