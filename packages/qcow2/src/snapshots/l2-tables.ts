/** The L2 tables of any L1 table, one after the other, from the file: the caches must be written back. */
import { BlockError, pause, viewOf } from '@vmblock/block-core/driver'
import { hostOffsetOf } from '../format/l2-entry.ts'
import { prefixedHex } from '../format/words.ts'
import type { Image } from '../image/image.ts'
import { ScanBudget } from '../refcounts/scan-budget.ts'

/** An L2 table as it is on disk. */
export interface ReadTable {
  /** Index of its entry in the L1 table. */
  readonly l1Index: number
  /** Host offset in bytes. */
  readonly offset: number
  readonly bytes: Uint8Array
  readonly view: DataView
}

/** Entries that are as much work as a small request; after such units the event loop gets its turn. */
const ENTRIES_OF_UNIT = 64

/**
 * Reads the L2 tables of an L1 table, one after the other.
 *
 * @throws BlockError EIO for a broken entry, which is signalled, and for more tables than the file can hold; the error of
 *   the file
 */
export async function* l2TablesOf(image: Image, l1: DataView): AsyncGenerator<ReadTable> {
  const { clusterSize, l2Entries } = image.geometry
  const budget = new ScanBudget(image)
  for (let l1Index = 0; l1Index < l1.byteLength / 8; l1Index++) {
    const offset = hostOffsetOf(l1.getUint32(l1Index * 8), l1.getUint32(l1Index * 8 + 4))
    if (offset === 0) continue
    if (offset % clusterSize !== 0)
      throw await image.corruption.signal(
        `L2 table offset ${prefixedHex(offset)} unaligned (L1 index: ${prefixedHex(l1Index)})`,
        true,
      )
    if (budget.spend(clusterSize) && !(await budget.extend()))
      throw new BlockError('EIO', 'there are more tables than the file can hold', {
        node: image.settings.nodeName,
      })
    const bytes = new Uint8Array(clusterSize)
    const announced = image.file.debugEvent('l2_load')
    if (announced) await announced
    await image.file.read(offset, bytes)
    yield { l1Index, offset, bytes, view: viewOf(bytes) }
    const turning = pause(l2Entries / ENTRIES_OF_UNIT)
    if (turning) await turning
  }
}
