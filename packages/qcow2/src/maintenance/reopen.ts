/**
 * Reopening an image: one that becomes read-only is left clean, one that becomes writable is repaired first.
 */
import { BlockError, type PreparedReopen, type ReopenRequest } from '@vmblock/block-core'
import { Incompatible } from '../format/features.ts'
import type { Image } from '../image/image.ts'
import { mutableSettings, type RuntimeOptions } from '../options/options.ts'
import { settleImage } from '../requests/flush.ts'

/**
 * Does everything that can fail. The core has drained the node, and a node that becomes writable finds its
 * file writable already. QEMU repairs only at open, and loses data here (lazy-refcounts.md section 3, B and
 * C).
 *
 * @param becomeWritableAgain does what an open for writing does, for an image that was open read-only
 */
export async function prepareReopen(
  image: Image,
  request: ReopenRequest,
  becomeWritableAgain: () => Promise<void>,
): Promise<PreparedReopen> {
  const options = request.options as unknown as RuntimeOptions
  const unmap = request.unmap ?? image.settings.passDiscard.request
  const next = mutableSettings(options, image.header, image.geometry, unmap)
  const wasWritable = image.writable
  const willWrite = !request.readOnly
  if (willWrite && (image.header.incompatible & Incompatible.corrupt) !== 0n)
    throw new BlockError('EACCES', 'qcow2: Image is corrupt; cannot be opened read/write', {
      node: image.settings.nodeName,
    })
  if (wasWritable && (!willWrite || (image.settings.lazyRefcounts && !next.lazyRefcounts))) {
    await settleImage(image)
    await image.dirtyBit.clear()
  }
  if (!wasWritable && willWrite && !image.settings.checkMode) {
    await becomeWritableAgain()
  }
  // The caches are replaced by ones of the new sizes: nothing may be in them alone.
  if (image.writable) await settleImage(image)
  return {
    commit() {
      image.settings.lazyRefcounts = next.lazyRefcounts
      image.settings.refcountReserve = next.refcountReserve
      image.settings.freedClustersSize = next.freedClustersSize
      image.settings.passDiscard = next.passDiscard
      image.settings.overlapCheck = next.overlapCheck
      image.settings.caches = next.caches
      image.overlaps.forget()
      image.renewCaches()
      image.writable = willWrite
    },
    abort() {
      image.writable = wasWritable
    },
  }
}
