/** Images with one option each, made by either side, pass back and forth between our library and QEMU's programs. */
import { passBackAndForth } from './src/rounds.ts'
import { qcow2 } from './src/varieties.ts'

passBackAndForth(
  'qcow2 images of every kind of metadata pass back and forth',
  [
    qcow2({}, undefined, { preallocations: ['metadata', 'falloc', 'full'] }),
    qcow2({ compat: '0.10' }),
    qcow2({ lazy_refcounts: 'on' }),
    qcow2({ refcount_bits: '1' }),
    qcow2({ refcount_bits: '2' }),
    qcow2({ refcount_bits: '8' }),
    qcow2({ refcount_bits: '64' }),
    qcow2({ extended_l2: 'on' }),
    qcow2({ compression_type: 'zstd' }),
  ],
  ['qemu-img', 'our create'],
)
