/** Power cuts in images with bitmaps: each is exact afterwards, or says that it is inconsistent. */
import { crashTests } from '@vmblock/block-core/testing'
import { onEach } from '../testing/crash.ts'
import { bitmapLife } from '../testing/crash-bitmaps.ts'

crashTests(
  'qcow2 bitmaps',
  onEach(
    'bitmaps',
    [
      'eager',
      'lazy',
      'eager, writethrough',
      'small clusters',
      'lazy, small clusters',
      '1-bit refcounts',
      'lazy, 64k clusters',
      'subclusters',
      'data file',
      'eager, directsync on 4k sectors',
    ],
    bitmapLife,
  ),
  process.env,
)
