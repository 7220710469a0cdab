/** The kinds of qcow2 images that tests run on: what sets each apart, in the words of `qemu-img create -o`. */
import type { ImageOptions } from '@vmblock/block-core/testing'

/** Creation options by the names that tests use for them; sizes of clusters and disks are up to the test. */
export const KINDS = {
  plain: {},
  'version 2': { compat: '0.10' },
  lazy: { lazy_refcounts: 'on' },
  '1-bit refcounts': { refcount_bits: '1' },
  '2-bit refcounts': { refcount_bits: '2' },
  '8-bit refcounts': { refcount_bits: '8' },
  '64-bit refcounts': { refcount_bits: '64' },
  subclusters: { extended_l2: 'on' },
  zstd: { compression_type: 'zstd' },
  'data file': { data_file: '$IMG.data' },
  'raw data file': { data_file: '$IMG.data', data_file_raw: 'on' },
  preallocated: { preallocation: 'metadata' },
  'with room': { preallocation: 'falloc' },
  full: { preallocation: 'full' },
} as const satisfies Readonly<Record<string, ImageOptions>>
