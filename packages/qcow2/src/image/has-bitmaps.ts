/** Whether an image has persistent bitmaps: some operations would make them wrong. */
import type { Image } from './image.ts'

/** Whether there are bitmaps, in the file or in memory; inconsistent ones count. */
export const hasBitmaps = ({ header, bitmaps }: Image): boolean =>
  header.extensions.bitmaps !== undefined || bitmaps?.isEmpty === false
