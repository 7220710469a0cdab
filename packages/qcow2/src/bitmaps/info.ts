/** The bitmaps of an image as `info` shows them. */
import { BitmapFlag } from '../format/bitmap-layout.ts'
import type { Image } from '../image/image.ts'
import { readDirectory } from './directory.ts'

/** One bitmap, with names as in QEMU's `Qcow2BitmapInfo`. */
interface BitmapFacts {
  readonly flags: readonly ('in-use' | 'auto')[]
  readonly name: string
  /** Bytes. */
  readonly granularity: number
}

/** The directory as it is in the file. @throws BlockError EINVAL in QEMU's words; the error of the file */
export async function bitmapFacts(image: Image): Promise<readonly BitmapFacts[]> {
  return (await readDirectory(image)).map(({ name, flags, granularityBits }) => ({
    flags: [
      ...((flags & BitmapFlag.inUse) !== 0 ? (['in-use'] as const) : []),
      ...((flags & BitmapFlag.auto) !== 0 ? (['auto'] as const) : []),
    ],
    name,
    granularity: 2 ** granularityBits,
  }))
}
