/** Images with snapshots pass back and forth: both sides make, apply and delete them, and see the same in each. */
import { describe, test } from 'vitest'
import { testedFormat } from '../support/formats.ts'
import { haveQemu } from '../support/real-qemu.ts'
import { LONG, withSeeds } from './src/settings.ts'
import { playSnapshots } from './src/snapshot-rounds.ts'
import { chain, compressed, emptyImage, type Variety } from './src/varieties.ts'

const qcow2 = testedFormat('qcow2')
const empty = (create: Record<string, string>): Variety => emptyImage(qcow2, { create, suites: [] })

const VARIETIES: readonly Variety[] = [
  empty({}),
  empty({ cluster_size: '512' }),
  empty({ cluster_size: '4k', lazy_refcounts: 'on' }),
  empty({ cluster_size: '16k', extended_l2: 'on' }),
  empty({ cluster_size: '4k', refcount_bits: '64' }),
  empty({ cluster_size: '4k', preallocation: 'metadata' }),
  compressed('zlib', { cluster_size: '4k' }),
  compressed('zstd', { cluster_size: '64k' }),
]

/** Neither changes its size: version 2 must not, and below an overlay old content would show. */
const FIXED: readonly Variety[] = [
  empty({ compat: '0.10', cluster_size: '4k' }),
  chain('overlay', [
    { format: 'qcow2', size: 2 ** 20 },
    { format: 'qcow2', size: 2 ** 20, options: { cluster_size: '4k' } },
  ]),
]

describe.skipIf(!haveQemu)('snapshots pass back and forth', () => {
  for (const [varieties, canResize] of [
    [VARIETIES, true],
    [FIXED, false],
  ] as const)
    for (const variety of varieties)
      test(variety.name, { timeout: LONG ? 1_800_000 : 120_000 }, () =>
        withSeeds(variety.name, (seed) => playSnapshots(variety, seed, canResize)),
      )
})
