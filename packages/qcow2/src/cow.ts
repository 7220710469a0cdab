/** The data of newly allocated clusters: what the guest writes, and around it what the clusters showed before. */
import { alignDown, alignUp, chainStatus } from '@vmblock/block-core'
import { ClusterKind, extendedL2Kind } from './format/l2-entry.ts'
import { SubclusterKind } from './format/subclusters.ts'
import type { Image } from './image.ts'
import { kindOf, loadRun, type Words } from './lookup.ts'
import { read } from './read.ts'
import type { Reserved } from './reserve.ts'

/** Guest data and copied ends up to this many bytes go out as one write. */
const MERGE_LIMIT = 1024 * 1024

/** The guest range that reads from the new clusters once they are linked: the write, widened by its copies. */
export interface Span {
  /** Guest bytes. */
  readonly start: number
  readonly end: number
}

/**
 * How far the copies reach: whole clusters, or whole subclusters where there are any. A cluster that gives
 * up its old place takes all its data along.
 */
export function spanOf(image: Image, { offset, bytes, before, reused }: Reserved): Span {
  const { clusterSize, subclusterSize } = image.geometry
  const end = offset + bytes
  if (!image.extendedL2) return { start: alignDown(offset, clusterSize), end: alignUp(end, clusterSize) }
  const first = before[0]!
  const last = before[before.length - 1]!
  const isWritten = (words: Words, at: number): boolean =>
    reused && kindOf(image, words, Math.floor((at % clusterSize) / subclusterSize)) === SubclusterKind.normal
  const wholeStart = !reused && holdsData(image, first)
  const wholeEnd = !reused && holdsData(image, last)
  return {
    start: isWritten(first, offset) ? offset : alignDown(offset, wholeStart ? clusterSize : subclusterSize),
    end: isWritten(last, end - 1) ? end : alignUp(end, wholeEnd ? clusterSize : subclusterSize),
  }
}

/** Whether an extended entry has data of its own anywhere, which would be lost with its old cluster. */
function holdsData(image: Image, { hi, lo, allocated }: Words): boolean {
  const kind = extendedL2Kind(hi, lo, image.hasDataFile)
  return kind === ClusterKind.compressed || (kind === ClusterKind.normal && allocated !== 0)
}

/**
 * Writes guest data to reserved clusters, with what has to be copied around it.
 *
 * @returns whether anything but the guest's new data was written: then it has to be durable before the link
 */
export async function writeWithCopies(image: Image, reserved: Reserved, from: Uint8Array): Promise<boolean> {
  const { offset } = reserved
  const end = offset + from.length
  const span = spanOf(image, reserved)
  // Zeroes need not be written where nothing but zeroes ever was.
  const head = span.start < offset ? await oldContent(image, span.start, offset - span.start) : undefined
  const tail = end < span.end ? await oldContent(image, end, span.end - end) : undefined
  const skip = (content: Content | undefined): boolean => !content || (content === 'zero' && reserved.zeroed)
  const start = skip(head) ? offset : span.start
  const stop = skip(tail) ? end : span.end
  const host = reserved.hostOffset - alignDown(offset, image.geometry.clusterSize)
  if (stop - start <= MERGE_LIMIT) {
    await put(
      image,
      host + start,
      start === offset && stop === end ? from : join(head, from, tail, start, offset, stop),
    )
  } else {
    if (start < offset) await copy(image, host + start, head!, offset - start)
    await put(image, host + offset, from)
    if (stop > end) await copy(image, host + end, tail!, stop - end)
  }
  return start < offset || stop > end
}

/** What a range showed before: its bytes, or the knowledge that they are all zero. */
type Content = Uint8Array | 'zero'

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

async function copy(image: Image, host: number, content: Content, bytes: number): Promise<void> {
  const announced = image.data.debugEvent('cow_write')
  if (announced) await announced
  await image.data.write(host, content === 'zero' ? new Uint8Array(bytes) : content)
}

async function put(image: Image, host: number, bytes: Uint8Array): Promise<void> {
  const announced = image.data.debugEvent('write_aio')
  if (announced) await announced
  await image.data.write(host, bytes)
}

async function oldContent(image: Image, offset: number, bytes: number): Promise<Content> {
  if (await readsAsZero(image, offset, bytes)) return 'zero'
  const announced = image.data.debugEvent('cow_read')
  if (announced) await announced
  const content = new Uint8Array(bytes)
  await read(image, offset, content)
  return content
}

/** Whether a guest range is known to read as zeroes without reading its data. Past the disk's end it does. */
export async function readsAsZero(image: Image, offset: number, bytes: number): Promise<boolean> {
  for (let done = 0; done < bytes; ) {
    const run = await loadRun(image, offset + done, bytes - done)
    switch (run.kind) {
      case SubclusterKind.zeroPlain:
      case SubclusterKind.zeroAlloc:
        break
      case SubclusterKind.unallocatedPlain:
      case SubclusterKind.unallocatedAlloc:
        if (!(await backingIsZero(image, offset + done, run.bytes))) return false
        break
      default:
        return false
    }
    done += run.bytes
  }
  return true
}

async function backingIsZero(image: Image, offset: number, bytes: number): Promise<boolean> {
  const { backing } = image
  if (!backing) return true
  const end = Math.min(offset + bytes, backing.size)
  for (let at = offset; at < end; ) {
    const status = await chainStatus(backing.node, at, end - at)
    if (!status.zero || status.bytes === 0) return status.bytes === 0
    at += status.bytes
  }
  return true
}
