/** Reserves host clusters for a guest range that has none it may write to. Runs under the image's lock. */
import { alignDown, type Table } from '@vmblock/block-core'
import { COPIED_HI, hostOffsetOf } from '../format/l2-entry.ts'
import { SubclusterKind } from '../format/subclusters.ts'
import type { Image } from '../image/image.ts'
import { growL1, l2TableOffset, ownsL2Table, writableL2Table } from '../mapping/l1.ts'
import { entryWords, indexInSlice, kindOf, sliceOffset, type Words } from '../mapping/lookup.ts'
import { allocateClusters } from '../refcounts/allocate.ts'

/** Clusters reserved for a guest range; no entry points at them yet, or none as data. */
export interface Reserved {
  /** The guest bytes that will be written: [offset, offset + bytes). */
  readonly offset: number
  readonly bytes: number
  /** Host offset of the cluster that holds `offset`. */
  readonly hostOffset: number
  readonly clusters: number
  /** Position of the first entry: slice offset (host bytes) and index in the slice. */
  readonly slice: number
  readonly index: number
  /** The entries before the write. */
  readonly before: readonly Words[]
  /** The guest range had these clusters already (preallocated, partly written, or fully written). */
  readonly reused: boolean
  /** Never written before: they read as zeroes. */
  readonly zeroed: boolean
}

/** Runs `use` on the slice with the L2 entry for a guest offset, in a writable table. See {@link inSlice}. */
export async function inWritableSlice<T>(image: Image, offset: number, use: (table: Table) => T): Promise<T> {
  const l1Index = Math.floor(offset / image.geometry.l2Coverage)
  if (l1Index * 8 >= image.l1.bytes.length) await growL1(image, l1Index + 1)
  return inSlice(image, sliceOffset(image, await writableL2Table(image, l1Index), offset), use)
}

/** The slice for a guest offset, if it is cached and its table may be changed. */
function peekWritableSlice(image: Image, offset: number): Table | undefined {
  const l1Index = Math.floor(offset / image.geometry.l2Coverage)
  const tableOffset = l2TableOffset(image, l1Index)
  if (tableOffset === 0 || !ownsL2Table(image, l1Index)) return undefined
  return image.l2Tables.peek(sliceOffset(image, tableOffset, offset))
}

/**
 * Runs `use` on the slice at a host offset, with no await in between: a reader that takes no lock might cause
 * the slice to be dropped meanwhile, and the changes would be lost.
 */
export async function inSlice<T>(image: Image, slice: number, use: (table: Table) => T): Promise<T> {
  for (;;) {
    const table = image.l2Tables.peek(slice)
    if (table) return use(table)
    await image.l2Tables.load(slice)
  }
}

/** How a write treats an entry: it writes in place, fills the entry's own host cluster, or replaces it. */
const Treatment = { inPlace: 0, reuse: 1, replace: 2 } as const

function treatmentOf(image: Image, words: Words, from: number, to: number): number {
  if ((words.hi & COPIED_HI) === 0) return Treatment.replace
  const { subclusterSize } = image.geometry
  let treatment: number = Treatment.inPlace
  for (let sub = Math.floor(from / subclusterSize); sub * subclusterSize < to; sub++) {
    const kind = kindOf(image, words, sub)
    if (kind === SubclusterKind.normal) continue
    if (kind !== SubclusterKind.zeroAlloc && kind !== SubclusterKind.unallocatedAlloc)
      return Treatment.replace
    treatment = Treatment.reuse
  }
  return treatment
}

/** The entries of a range, as far as they are treated alike. */
interface Plan {
  readonly treatment: number
  /** Host offset of the first cluster, if it is kept. */
  readonly host: number
  readonly slice: number
  readonly before: readonly Words[]
}

function planOf(image: Image, table: Table, offset: number, end: number): Plan {
  const { clusterSize } = image.geometry
  const index = indexInSlice(image, offset)
  const before: Words[] = []
  let treatment: number = Treatment.inPlace
  let host = 0
  for (let at = alignDown(offset, clusterSize); at < end; at += clusterSize) {
    const words = entryWords(image, table, index + before.length)
    const its = treatmentOf(image, words, Math.max(offset - at, 0), Math.min(end - at, clusterSize))
    // Clusters that are kept go together, so that they are written in one request.
    if (before.length > 0 && (its === Treatment.replace) !== (treatment === Treatment.replace)) break
    if (its !== Treatment.replace) {
      if (before.length === 0) host = hostOffsetOf(words.hi, words.lo)
      else if (hostOffsetOf(words.hi, words.lo) !== host + before.length * clusterSize) break
    }
    treatment = Math.max(treatment, its)
    before.push(words)
  }
  return { treatment, host, slice: table.offset, before }
}

/**
 * Reserves clusters for the longest first part of [offset, offset + bytes), within one slice, that is treated
 * alike.
 *
 * @returns undefined if all of that part can be written in place; no promise if all tables are cached
 */
export function reserve(
  image: Image,
  offset: number,
  bytes: number,
): Reserved | undefined | Promise<Reserved | undefined> {
  const end = offset + bytes
  const table = peekWritableSlice(image, offset)
  if (table) return reserveAs(image, planOf(image, table, offset, end), offset, end)
  return inWritableSlice(image, offset, (table) => planOf(image, table, offset, end)).then((plan) =>
    reserveAs(image, plan, offset, end),
  )
}

function reserveAs(
  image: Image,
  { treatment, host, slice, before }: Plan,
  offset: number,
  end: number,
): Reserved | undefined | Promise<Reserved> {
  if (treatment === Treatment.inPlace) return undefined
  const { clusterSize } = image.geometry
  const start = alignDown(offset, clusterSize)
  const clusters = before.length
  const bytes = Math.min(end, start + clusters * clusterSize) - offset
  const index = indexInSlice(image, offset)
  const at = (hostOffset: number, reused: boolean, zeroed: boolean): Reserved => ({
    offset,
    bytes,
    hostOffset,
    clusters,
    slice,
    index,
    before,
    reused,
    zeroed,
  })
  if (treatment === Treatment.reuse) return at(host, true, false)
  // In an external data file, a guest cluster's host offset is its guest offset, and has no refcount.
  if (image.hasDataFile) return at(start, false, start >= image.data.size)
  const allocated = allocateClusters(image, clusters)
  return allocated instanceof Promise
    ? allocated.then((late) => at(late.offset, false, late.zeroed))
    : at(allocated.offset, false, allocated.zeroed)
}
