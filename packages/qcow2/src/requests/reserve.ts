/** Reserves host clusters for a guest range that has none it may write to. Runs under the image's lock. */
import { alignDown, type Table } from '@vmblock/block-core/driver'
import { hostOffsetOf, isCopied } from '../format/l2-entry.ts'
import { SubclusterKind } from '../format/subclusters.ts'
import type { Image } from '../image/image.ts'
import { entryAt, kindOf, type L2Entry } from '../mapping/entries.ts'
import { indexInSlice, inWritableSlice, peekWritableSlice } from '../mapping/slices.ts'

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
  readonly before: readonly L2Entry[]
  /** The guest range had these clusters already (preallocated, partly written, or fully written). */
  readonly reused: boolean
  /** Never written before: they read as zeroes. */
  readonly zeroed: boolean
}

/** How a write treats an entry: it writes in place, fills the entry's own host cluster, or replaces it. */
const WriteMode = { inPlace: 0, fill: 1, replace: 2 } as const

function modeOf(image: Image, entry: L2Entry, from: number, to: number): number {
  if (!isCopied(entry.hi)) return WriteMode.replace
  const { subclusterSize } = image.geometry
  let mode: number = WriteMode.inPlace
  for (let sub = Math.floor(from / subclusterSize); sub * subclusterSize < to; sub++) {
    const kind = kindOf(image, entry, sub)
    if (kind === SubclusterKind.normal) continue
    if (kind !== SubclusterKind.zeroAlloc && kind !== SubclusterKind.unallocatedAlloc)
      return WriteMode.replace
    mode = WriteMode.fill
  }
  return mode
}

/** The entries of a range, as far as they are treated alike. */
interface Plan {
  readonly mode: number
  /** Host offset of the first cluster, if it is kept. */
  readonly host: number
  readonly slice: number
  readonly before: readonly L2Entry[]
}

function planOf(image: Image, table: Table, offset: number, end: number): Plan {
  const { clusterSize } = image.geometry
  const index = indexInSlice(image, offset)
  const before: L2Entry[] = []
  let mode: number = WriteMode.inPlace
  let host = 0
  for (let at = alignDown(offset, clusterSize); at < end; at += clusterSize) {
    const entry = entryAt(image, table, index + before.length)
    const entryMode = modeOf(image, entry, Math.max(offset - at, 0), Math.min(end - at, clusterSize))
    // Clusters that are kept go together, so that they are written in one request.
    if (before.length > 0 && (entryMode === WriteMode.replace) !== (mode === WriteMode.replace)) break
    if (entryMode !== WriteMode.replace) {
      if (before.length === 0) host = hostOffsetOf(entry.hi, entry.lo)
      else if (hostOffsetOf(entry.hi, entry.lo) !== host + before.length * clusterSize) break
    }
    mode = Math.max(mode, entryMode)
    before.push(entry)
  }
  return { mode, host, slice: table.offset, before }
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
  { mode, host, slice, before }: Plan,
  offset: number,
  end: number,
): Reserved | undefined | Promise<Reserved> {
  if (mode === WriteMode.inPlace) return undefined
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
  if (mode === WriteMode.fill) return at(host, true, false)
  const allocated = image.store.allocate(start, clusters)
  return allocated instanceof Promise
    ? allocated.then((late) => at(late.offset, false, late.zeroed))
    : at(allocated.offset, false, allocated.zeroed)
}
