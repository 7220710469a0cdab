/** Compressed images, which only QEMU makes, are read and overwritten by both sides. */
import { passBackAndForth } from './src/rounds.ts'
import { compressed } from './src/varieties.ts'

passBackAndForth(
  'compressed images pass back and forth',
  [
    compressed('zlib'),
    compressed('zstd'),
    compressed('zlib', { cluster_size: '4k' }),
    compressed('zstd', { cluster_size: '2M' }),
    compressed('zlib', { cluster_size: '512' }),
    compressed('zlib', { compat: '0.10' }),
  ],
  ['qemu-img'],
)
