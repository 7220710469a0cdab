/**
 * Moves clusters: copy, flush, entries, flush, and then the old clusters are free. Until the second flush an entry may
 * lead to the old cluster or to the new one, which hold the same, and both are counted: a crash leaks one of them.
 */
import { isZero } from '@vmblock/block-core/driver'
import { COMPRESSED_HI, compressedExtent, hostOffsetOf } from '../format/l2-entry.ts'
import type { Image } from '../image/image.ts'
import { beforeActivate } from '../image/write-order.ts'
import { getRefcount } from '../refcounts/refcounts.ts'
import { setRefcount } from '../refcounts/repair-refcounts.ts'
import { flushImage } from '../requests/flush.ts'
import { Entries, type Entry } from './entries.ts'
import { packExtents } from './move-compressed.ts'
import type { ReferenceMap } from './reference-map.ts'
import { loadRoots } from './roots.ts'
import { settle } from './settle.ts'
import { takeBelow } from './survey.ts'

/** Bytes that are read and written at once. */
const RUN = 2 ** 20

/** What a piece did. */
export interface MovedPiece {
  /** Bytes that were copied. */
  readonly bytes: number
  /** No cluster before those of the piece is free: there is nothing more to be done. */
  readonly isFull: boolean
}

/** A cluster on its way. `from` and `to` are indexes of clusters. */
interface Move {
  readonly from: number
  readonly to: number
  readonly entries: readonly Entry[]
}

/** A cluster with all entries that refer to it. */
export interface Source {
  readonly cluster: number
  readonly entries: readonly Entry[]
}

/**
 * Moves some clusters, in ascending order, to free ones before the first of them. A cluster is left where it is if it
 * is not known where all references to it are: as many as its refcount says.
 *
 * No request may be in flight.
 *
 * @throws the error of the file: then the content is the same, and both copies may be leaked
 */
export async function movePiece(
  image: Image,
  map: ReferenceMap,
  clusters: Float64Array | readonly number[],
): Promise<MovedPiece> {
  await settle(image)
  const entries = new Entries(image, await loadRoots(image))
  const limit = clusters[0]!
  const { plain, packed } = await image.lock.run(() => sourcesOf(image, map, entries, clusters))
  const taken: number[] = []
  const undo = async (): Promise<void> => {
    for (const cluster of taken) await setRefcount(image, cluster, 0)
  }
  try {
    const { moves, isFull } = await image.lock.run(() => takeTargets(image, plain, limit, taken))
    for (const run of runsOf(image, moves)) await copyRun(image, run)
    for (const move of moves)
      for (const entry of move.entries) entries.redirect(entry, hostOf(image, move.to))
    const pack = isFull ? undefined : await packExtents(image, packed, limit, taken, entries)
    if (taken.length === 0) return { bytes: 0, isFull }
    await image.lock.run(() => beforeActivate(image))
    taken.length = 0
    await image.lock.run(() => entries.commit())
    const { clusterSize } = image.geometry
    for (const { from, entries: of } of moves) {
      if (of[0]!.leadsTo === 'table') {
        image.l2Tables.drop(hostOf(image, from), clusterSize)
        image.overlaps.forget()
      }
      for (const _ of of) image.frees.add(hostOf(image, from), clusterSize, 'other')
    }
    for (const { offset, bytes } of pack?.freed ?? []) image.frees.add(offset, bytes, 'other')
    await flushImage(image)
    const bytes = moves.length * clusterSize + (pack?.bytes ?? 0)
    return { bytes, isFull: isFull || pack?.isFull === true }
  } catch (error) {
    // Nothing refers to them yet.
    await image.lock.run(undo).catch(() => undefined)
    throw error
  }
}

const hostOf = (image: Image, cluster: number): number => cluster * image.geometry.clusterSize

/** The clusters that can be moved: `plain` ones as a whole, and `packed` ones with compressed data. */
async function sourcesOf(
  image: Image,
  map: ReferenceMap,
  entries: Entries,
  clusters: Float64Array | readonly number[],
): Promise<{ readonly plain: Source[]; readonly packed: Source[] }> {
  const plain: Source[] = []
  const packed: Source[] = []
  for (const cluster of clusters) {
    const found: Entry[] = []
    for (const reference of map.of(cluster)) {
      const entry = await entries.find(reference)
      if (entry && leadsTo(image, entry, cluster)) found.push(entry)
    }
    if (found.length === 0 || found.length !== (await getRefcount(image, cluster))) continue
    const compressed = found.filter(isCompressed).length
    if (compressed === 0 && found.every((entry) => entry.leadsTo === found[0]!.leadsTo))
      plain.push({ cluster, entries: found })
    else if (compressed === found.length) packed.push({ cluster, entries: found })
  }
  return { plain, packed }
}

const isCompressed = ({ leadsTo, hi }: Entry): boolean => leadsTo === 'data' && (hi & COMPRESSED_HI) !== 0

/** Whether an entry refers to a cluster, or to a part of it. */
function leadsTo(image: Image, entry: Entry, cluster: number): boolean {
  const { clusterSize, clusterBits } = image.geometry
  const start = cluster * clusterSize
  if (!isCompressed(entry)) return hostOffsetOf(entry.hi, entry.lo) === start
  const { hostOffset, bytes } = compressedExtent(entry.hi, entry.lo, clusterBits)
  return hostOffset < start + clusterSize && hostOffset + bytes > start
}

/** @param taken gets the indexes of the clusters that were taken */
async function takeTargets(
  image: Image,
  sources: readonly Source[],
  limit: number,
  taken: number[],
): Promise<{ readonly moves: Move[]; readonly isFull: boolean }> {
  const moves: Move[] = []
  for (const { cluster, entries } of sources) {
    const to = await takeBelow(image, 1, limit)
    if (to === undefined) return { moves, isFull: true }
    taken.push(to)
    if (entries.length > 1) await setRefcount(image, to, entries.length)
    moves.push({ from: cluster, to, entries })
  }
  return { moves, isFull: false }
}

/** Moves that one request can do: contiguous where they come from, where they go to, and for the guest. */
function runsOf(image: Image, moves: readonly Move[]): Move[][] {
  const { clusterSize } = image.geometry
  const runs: Move[][] = []
  for (const move of moves) {
    const run = runs[runs.length - 1]
    const last = run?.[run.length - 1]
    const [entry, before] = [move.entries[0]!, last?.entries[0]]
    const follows =
      last &&
      before &&
      (run.length + 1) * clusterSize <= RUN &&
      last.from + 1 === move.from &&
      last.to + 1 === move.to &&
      before.leadsTo === entry.leadsTo &&
      (entry.leadsTo !== 'data' || before.guest + clusterSize === entry.guest)
    if (follows) run.push(move)
    else runs.push([move])
  }
  return runs
}

async function copyRun(image: Image, run: readonly Move[]): Promise<void> {
  const { file, store } = image
  const first = run[0]!
  const { leadsTo, guest } = first.entries[0]!
  const [from, to] = [hostOf(image, first.from), hostOf(image, first.to)]
  const bytes = new Uint8Array(run.length * image.geometry.clusterSize)
  const isGuests = leadsTo === 'data'
  const announced = file.debugEvent('cow_read')
  if (announced) await announced
  await (isGuests ? store.read(from, bytes, guest) : file.read(from, bytes))
  const writing = file.debugEvent('cow_write')
  if (writing) await writing
  // Clusters that were never written, as those of `preallocation=metadata`, take no space at their new place either.
  const isHole = leadsTo === 'data' && store.locate(from) !== undefined && isZero(bytes)
  if (isHole) await file.writeZeroes(to, bytes.length, { mayUnmap: true })
  else await (isGuests ? store.write(to, bytes, guest) : file.write(to, bytes))
}
