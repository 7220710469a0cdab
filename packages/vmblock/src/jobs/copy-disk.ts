/** Copies a whole disk into a new image: what is zero takes no room, and what a backing file has is left to it. */
import {
  type BlockNode,
  backingOf,
  CopyMap,
  copyNodes,
  type JobControl,
  skipFilters,
} from '@vmblock/block-core'
import { beneathOf, differences, type EqualBytes, isZero } from '@vmblock/block-core/driver'

/** How bytes are handled best on a platform. */
export interface Copying {
  readonly isZero?: (bytes: Uint8Array) => boolean
  readonly equal?: EqualBytes
  readonly allocate?: (bytes: number) => Uint8Array
}

/** Shortest run of zeroes that is left out of data, in bytes: a page of most file systems. */
const SPARSE = 4096

/** @param compress writes data compressed @throws BlockError of reading and writing; the reason for a cancellation */
export async function copyDisk(
  source: BlockNode,
  target: BlockNode,
  { isZero: test = isZero, equal, allocate }: Copying,
  control: JobControl,
  compress = false,
): Promise<void> {
  const hasBacking = backingOf(target) !== undefined
  const { base, isShown } = hasBacking ? beneathOf(source, target, true) : {}
  const map = await CopyMap.of({
    sources: [{ node: source, base }],
    hasBeneath: hasBacking,
    ...(hasBacking && { beneathBytes: backingOf(target)?.size }),
    ...(isShown === false && { refine: (range) => differences(source, target, range, equal) }),
  })
  const { requestAlignment, compressedAlignment } = target.limits
  const alignment = compress ? compressedAlignment : Math.max(SPARSE, requestAlignment)
  const sparse = { minimum: Math.max(SPARSE, compress ? alignment : 0), alignment, isZero: test }
  const compressedCluster = compress ? compressedAlignment : undefined
  const zeroes = !hasBacking && isZeroWhenNew(target) ? 'skip' : 'write'
  await copyNodes({ map, target, zeroes, sparse, allocate, compressedCluster }, control)
}

/** Whether a new image reads as zeroes: a file begins empty, a device keeps its old content; what is all encrypted is noise. */
function isZeroWhenNew(node: BlockNode): boolean {
  const { driver, file } = skipFilters(node)
  if (file?.kind.shows) return isZeroWhenNew(file.node)
  return driver.kind === 'format' ? !driver.isNoiseWhenNew : node.growable
}
