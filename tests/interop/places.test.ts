/**
 * Images with various cluster sizes and preallocation, external data files and raw images pass back and
 * forth.
 */
import { passBackAndForth } from './src/rounds.ts'
import { qcow2, rawVariety } from './src/varieties.ts'

passBackAndForth(
  'clusters of every size and place pass back and forth',
  [
    qcow2({ cluster_size: '512' }, undefined, { preallocations: ['metadata', 'falloc'] }),
    qcow2({ cluster_size: '4k' }),
    qcow2({ cluster_size: '2M' }, 14 * 2 ** 20 + 1024),
    qcow2({ preallocation: 'metadata' }),
    qcow2({ preallocation: 'falloc' }),
    qcow2({ preallocation: 'full' }),
    qcow2({ data_file: '$DATA' }),
    qcow2({ data_file: '$DATA', data_file_raw: 'on' }),
    rawVariety,
  ],
  ['qemu-img', 'our create'],
)
