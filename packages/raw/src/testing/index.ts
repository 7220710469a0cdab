/** What the tests of all formats have to know about raw disks. */
import type { TestedFormat } from '@vmblock/block-core/testing'
import { raw } from '../raw.ts'

/** Raw disks: the file is the disk, so discards and preallocation are the host's. */
export const format: TestedFormat = {
  driver: raw,
  inQemu: true,
  clusterSize: 4096,
  resizes: 'both ways',
  discards: 'perhaps',
  checks: 'no',
  varieties: [
    {
      create: {},
      suites: ['iotests', 'turns', 'kills', 'faults', 'mishaps'],
      size: 2 ** 21 + 512,
      preallocations: ['off', 'falloc', 'full'],
    },
  ],
}
