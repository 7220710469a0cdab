/** Facts of an image, as `qemu-img info` shows them. */
import type { NodeInfo } from '@vmblock/block-core/driver'
import { loadBitmapCode } from '../bitmaps/load-bitmaps.ts'
import { Autoclear, Compatible, Incompatible } from '../format/features.ts'
import type { Image } from '../image/image.ts'
import { vmStateOffset } from '../snapshots/vm-state.ts'

/**
 * The facts in the header, in that of the encryption, and the bitmaps, if there are any; opens nothing.
 *
 * @throws BlockError EINVAL in QEMU's words if the directory of the bitmaps is broken; the error of the file
 */
export async function info(image: Image): Promise<NodeInfo> {
  const encrypt = await image.encryption?.facts()
  const { header, geometry } = image
  const { extensions } = header
  const has = (word: bigint, bit: bigint): boolean => (word & bit) !== 0n
  const base = { compat: header.version === 2 ? '0.10' : '1.1', 'compression-type': header.compressionType }
  const data: Record<string, unknown> =
    header.version === 2
      ? { ...base, 'refcount-bits': geometry.refcountBits }
      : {
          ...base,
          'lazy-refcounts': has(header.compatible, Compatible.lazyRefcounts),
          ...(extensions.bitmaps ? { bitmaps: await (await loadBitmapCode()).bitmapFacts(image) } : {}),
          'refcount-bits': geometry.refcountBits,
          corrupt: has(header.incompatible, Incompatible.corrupt),
          'extended-l2': image.extendedL2,
          ...(extensions.dataFile === undefined ? {} : { 'data-file': extensions.dataFile }),
          ...(image.hasDataFile ? { 'data-file-raw': has(header.autoclear, Autoclear.dataFileRaw) } : {}),
        }
  return {
    clusterSize: geometry.clusterSize,
    vmStateOffset: vmStateOffset(image),
    dirty: image.dirtyBit.isSet,
    encrypted: header.cryptMethod !== 0,
    ...(header.backingFile === undefined ? {} : { backingFilename: header.backingFile }),
    ...(extensions.backingFormat === undefined ? {} : { backingFormat: extensions.backingFormat }),
    formatSpecific: { type: 'qcow2', data: encrypt ? { ...data, encrypt } : data },
  }
}
