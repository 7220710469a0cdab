/** Block status: which ranges the image holds, for `map`, copies and all callers that skip holes. */
import { type BlockStatus, joinedStatus } from '@vmblock/block-core/driver'
import { SubclusterKind } from '../format/subclusters.ts'
import type { Image } from '../image/image.ts'
import { l2TableOffset } from '../mapping/l1.ts'
import { loadRun, type Run } from '../mapping/lookup.ts'

/**
 * Table entries that are scanned for one answer. In a backing chain, the same query is repeated for every
 * piece of the layers below, so an answer must not cost more than it is worth there.
 */
const ENTRIES = 2048

/**
 * The status of a run at guest `offset`, at most `bytes`: as far as {@link ENTRIES} entries tell, or to the
 * next L2 table if there is none.
 */
export async function blockStatus(image: Image, offset: number, bytes: number): Promise<BlockStatus> {
  const epoch = image.requests.enter()
  try {
    const { l2Coverage, clusterSize } = image.geometry
    const hasTable = l2TableOffset(image, Math.floor(offset / l2Coverage)) !== 0
    if (!hasTable) return statusOf(image, await loadRun(image, offset, bytes))
    return await joinedStatus(Math.min(bytes, ENTRIES * clusterSize), async (done, left) =>
      statusOf(image, await loadRun(image, offset + done, left)),
    )
  } finally {
    image.requests.leave(epoch)
  }
}

function statusOf(image: Image, run: Run): BlockStatus {
  const { bytes } = run
  const location = image.store.locate(run.hostOffset)
  const host = location ? { host: location } : {}
  switch (run.kind) {
    case SubclusterKind.normal:
      return { bytes, allocated: true, data: true, zero: false, ...host }
    case SubclusterKind.zeroAlloc:
      return { bytes, allocated: true, data: false, zero: true, ...host }
    case SubclusterKind.zeroPlain:
      return { bytes, allocated: true, data: false, zero: true }
    case SubclusterKind.compressed:
      return { bytes, allocated: true, data: true, zero: false, compressed: true }
    case SubclusterKind.unallocatedAlloc:
      return { bytes, allocated: false, data: false, zero: !image.backing, ...host }
    default:
      return { bytes, allocated: false, data: false, zero: !image.backing }
  }
}
