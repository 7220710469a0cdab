/** What the tests of all formats have to know about qcow2. */
import type { TestedFormat } from '@vmblock/block-core/testing'
import { qcow2 } from '../driver.ts'
import { KINDS } from './kinds.ts'

/** Every kind, and clusters from the smallest to the largest. */
export const format: TestedFormat = {
  driver: qcow2,
  inQemu: true,
  clusterSize: 65536,
  resizes: 'both ways',
  discards: 'clusters',
  checks: 'leaks go',
  varieties: [
    {
      create: KINDS.plain,
      suites: ['iotests', 'turns', 'kills', 'faults', 'mishaps'],
      small: { cluster_size: '4k' },
      preallocations: ['metadata', 'falloc', 'full'],
    },
    { create: KINDS['version 2'], suites: ['iotests', 'turns'] },
    {
      create: KINDS.lazy,
      suites: ['iotests', 'turns', 'kills', 'faults', 'mishaps'],
      small: { cluster_size: '4k' },
      dirty: 'all',
    },
    { create: KINDS['1-bit refcounts'], suites: ['iotests', 'turns'] },
    { create: KINDS['2-bit refcounts'], suites: ['turns'] },
    { create: KINDS['8-bit refcounts'], suites: ['turns'] },
    { create: KINDS['64-bit refcounts'], suites: ['iotests', 'turns'] },
    {
      create: KINDS.subclusters,
      suites: ['iotests', 'turns', 'mishaps'],
      small: { cluster_size: '16k' },
    },
    { create: KINDS.zstd, suites: ['turns'] },
    { create: KINDS['data file'], suites: ['iotests', 'turns'] },
    { create: KINDS['raw data file'], suites: ['turns'] },
    {
      create: { cluster_size: '512' },
      suites: ['iotests', 'turns', 'mishaps'],
      preallocations: ['metadata', 'falloc'],
    },
    { create: { cluster_size: '4k' }, suites: ['turns'] },
    { create: { cluster_size: '2M' }, suites: ['iotests', 'turns'], size: 14 * 2 ** 20 + 1024 },
    { create: KINDS.preallocated, suites: ['turns'] },
    { create: KINDS['with room'], suites: ['turns'] },
    { create: KINDS.full, suites: ['turns'] },
  ],
}
