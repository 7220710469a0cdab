/** Everything about persistent bitmaps, in one part that is loaded for images that have some, or get one. */
import type { Image } from '../image/image.ts'
import { loadBitmaps } from './open-bitmaps.ts'

export { bitmapOps } from './bitmap-ops.ts'
export { bitmapFacts } from './info.ts'

/**
 * Called when an image with bitmaps was opened, or became writable. Loads them if it may be written; drops those that a
 * program without bitmaps has made stale.
 *
 * @throws BlockError in QEMU's words if they cannot be loaded: a write would make them wrong
 */
export async function openBitmaps(image: Image): Promise<void> {
  const { header } = image
  const { staleBitmaps, ...extensions } = header.extensions
  if (staleBitmaps) {
    image.events.warn(
      header.version < 3
        ? 'warning: This qcow2 v2 image contains bitmaps, but they may have been modified by software without persistent bitmap support; so now these bitmaps are all considered inconsistent'
        : 'warning: a program lacking bitmap support modified this file, so all bitmaps are now considered inconsistent',
    )
    image.events.warn("Some clusters may be leaked, run 'qemu-img check -r' on the image file to fix.")
    if (image.writable) await image.headerWriter.rewrite({ extensions }, 'either is valid')
  } else if (image.writable && !image.settings.checkMode) image.bitmaps ??= await loadBitmaps(image)
}

/**
 * Called when a repair has changed what tables of the guest's data say: enabled bitmaps have everything dirty.
 *
 * @throws as {@link openBitmaps}
 */
export async function noteRepair(image: Image): Promise<void> {
  image.bitmaps ??= await loadBitmaps(image)
  await image.bitmaps.repaired()
}
