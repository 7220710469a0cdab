/** What the image holds, for `map`, copies and everybody who wants to skip holes. */
import { type BlockStatus, joinedStatus } from '@vmblock/block-core'
import { SubclusterKind } from './format/subclusters.ts'
import type { Image } from './image.ts'
import { loadRun, type Run } from './lookup.ts'

/** The status of the longest run at guest `offset`, at most `bytes`; runs of neighbouring tables are joined. */
export async function blockStatus(image: Image, offset: number, bytes: number): Promise<BlockStatus> {
  const epoch = image.requests.enter()
  try {
    return await joinedStatus(bytes, async (done, left) =>
      statusOf(image, await loadRun(image, offset + done, left)),
    )
  } finally {
    image.requests.leave(epoch)
  }
}

function statusOf(image: Image, run: Run): BlockStatus {
  const { bytes } = run
  const host = { host: { child: image.data, offset: run.hostOffset } }
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
