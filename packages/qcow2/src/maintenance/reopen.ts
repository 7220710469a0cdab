/**
 * Reopening an image: one that becomes read-only is left clean, one that becomes writable is repaired first.
 */
import { BlockError, type PreparedReopen, type ReopenRequest } from '@vmblock/block-core/driver'
import { loadBitmapCode } from '../bitmaps/load-bitmaps.ts'
import { describeUnknown } from '../format/feature-names.ts'
import { Incompatible } from '../format/features.ts'
import { parseRareExtension } from '../format/rare-extensions.ts'
import type { Image } from '../image/image.ts'
import { readHeader, readTables, requireSound } from '../image/read-header.ts'
import { becomeWritable } from '../open/open-image.ts'
import { chosenCaches, chosenOverlapCheck } from '../options/chosen-settings.ts'
import { mutableSettings, type RuntimeOptions } from '../options/options.ts'
import { quiesceImage } from '../requests/flush.ts'

/**
 * Does everything that can fail. The core has drained the node, and a node that becomes writable finds its
 * file writable already. QEMU repairs only at open, and loses data here.
 */
export async function prepareReopen(image: Image, request: ReopenRequest): Promise<PreparedReopen> {
  const options = request.options as unknown as RuntimeOptions
  const unmap = request.unmap ?? image.settings.passDiscard.request
  const next = mutableSettings(options, image.header, image.geometry, unmap, {
    chosenCaches,
    chosenOverlapCheck,
  })
  const wasWritable = image.writable
  const willWrite = !request.readOnly
  if (willWrite) requireSound(image.header, image.settings.nodeName)
  if (wasWritable && (!willWrite || (image.settings.lazyRefcounts && !next.lazyRefcounts))) {
    await quiesceImage(image)
    if (!willWrite) await image.bitmaps?.store()
    await image.dirtyBit.clear()
  }
  if (!wasWritable && willWrite && !image.settings.checkMode) {
    await refreshImage(image)
    try {
      await becomeWritable(image)
      if (image.header.extensions.bitmaps) await (await loadBitmapCode()).openBitmaps(image)
    } catch (error) {
      image.writable = wasWritable
      throw error
    }
  }
  // The caches are replaced by ones of the new sizes: nothing may be in them alone.
  if (image.writable) await quiesceImage(image)
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
      if (!willWrite) image.bitmaps?.end()
    },
    abort() {
      image.writable = wasWritable
      if (!wasWritable) image.bitmaps?.end()
    },
  }
}

/**
 * Reads the header and the tables again: while the image was open read-only, another process may have written
 * or repaired it.
 *
 * @throws BlockError EIO if it has become another image
 */
async function refreshImage(image: Image): Promise<void> {
  const { file, header } = image
  const fresh = await readHeader(file, image.settings.checkMode, async () => ({
    describeUnknown,
    parseRareExtension,
  }))
  const isSame = (['clusterBits', 'refcountOrder', 'version', 'backingFile', 'cryptMethod'] as const).every(
    (field) => fresh[field] === header[field],
  )
  const layout = Incompatible.dataFile | Incompatible.extendedL2 | Incompatible.compression
  if (!isSame || ((fresh.incompatible ^ header.incompatible) & layout) !== 0n)
    throw new BlockError('EIO', 'the image was replaced while it was open read-only', {
      node: image.settings.nodeName,
    })
  const { l1, refcountTable } = await readTables(file, fresh)
  image.headerWriter.assume(fresh)
  image.setL1(l1)
  image.setRefcountTable(refcountTable)
  image.l2Tables.clear()
  image.forgetRefcounts()
  image.dirtyBit.refresh()
  image.fileLength.refresh()
}
