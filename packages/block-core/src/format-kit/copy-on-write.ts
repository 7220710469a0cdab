/**
 * Fills newly allocated clusters: with the guest's data, and around it with the old content of that guest
 * range. Formats name the clusters and supply the old content.
 */
import type { BlockChild } from '../contract/node.ts'

/** Guest data and copied ends up to this many bytes go out as one write. */
const MERGE_LIMIT = 1024 * 1024

/** Clusters that are about to be filled. Guest offsets are bytes; so are host offsets, of the `data` child. */
export interface NewClusters {
  readonly data: Pick<BlockChild, 'write'>
  /** The steps are announced here: the format's own file, even if the data is in another one. */
  readonly announceTo: BlockChild
  /** Guest range that reads from the clusters once they are linked; it contains the range that is written. */
  readonly start: number
  readonly end: number
  /** Host offset of `start`. */
  readonly hostOffset: number
  /** The clusters were never written, and so read as zeroes already. */
  readonly zeroed: boolean
  /** Whether a guest range is known to have shown zeroes only. */
  readsAsZero(offset: number, bytes: number): Promise<boolean>
  /** What a guest range showed before. */
  readOld(offset: number, into: Uint8Array): Promise<void>
}

/** The old content of a range: its bytes, or the knowledge that they are all zero. */
type Content = Uint8Array | 'zero'

/**
 * Writes guest data to new clusters, together with the old content around it.
 *
 * @param offset guest offset of `from`
 * @returns whether anything but the guest's new data was written: then it has to be durable before the link
 */
export async function writeWithCopies(
  clusters: NewClusters,
  offset: number,
  from: Uint8Array,
): Promise<boolean> {
  const end = offset + from.length
  const head =
    clusters.start < offset ? await oldContent(clusters, clusters.start, offset - clusters.start) : undefined
  const tail = end < clusters.end ? await oldContent(clusters, end, clusters.end - end) : undefined
  const skip = (content: Content | undefined): boolean => !content || (content === 'zero' && clusters.zeroed)
  const start = skip(head) ? offset : clusters.start
  const stop = skip(tail) ? end : clusters.end
  const host = clusters.hostOffset - clusters.start
  if (stop - start <= MERGE_LIMIT) {
    const whole = start === offset && stop === end ? from : join(head, from, tail, start, offset, stop)
    await put(clusters, host + start, whole)
  } else {
    if (start < offset) await copy(clusters, host + start, head!, offset - start)
    await put(clusters, host + offset, from)
    if (stop > end) await copy(clusters, host + end, tail!, stop - end)
  }
  return start < offset || stop > end
}

function join(
  head: Content | undefined,
  from: Uint8Array,
  tail: Content | undefined,
  start: number,
  offset: number,
  stop: number,
): Uint8Array {
  const whole = new Uint8Array(stop - start)
  if (start < offset && head && head !== 'zero') whole.set(head)
  whole.set(from, offset - start)
  const end = offset + from.length
  if (end < stop && tail && tail !== 'zero') whole.set(tail, end - start)
  return whole
}

async function copy(
  { data, announceTo }: NewClusters,
  host: number,
  content: Content,
  bytes: number,
): Promise<void> {
  const announced = announceTo.debugEvent('cow_write')
  if (announced) await announced
  await data.write(host, content === 'zero' ? new Uint8Array(bytes) : content)
}

async function put({ data, announceTo }: NewClusters, host: number, bytes: Uint8Array): Promise<void> {
  const announced = announceTo.debugEvent('write_aio')
  if (announced) await announced
  await data.write(host, bytes)
}

async function oldContent(clusters: NewClusters, offset: number, bytes: number): Promise<Content> {
  if (await clusters.readsAsZero(offset, bytes)) return 'zero'
  const announced = clusters.announceTo.debugEvent('cow_read')
  if (announced) await announced
  const content = new Uint8Array(bytes)
  await clusters.readOld(offset, content)
  return content
}
