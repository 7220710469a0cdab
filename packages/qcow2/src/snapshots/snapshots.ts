/** The snapshot table: internal snapshots, as the image file holds them. */
import { alignUp, BlockError, type SnapshotInfo } from '@vmblock/block-core/driver'
import type { HostRange, SnapshotRanges } from '../format/host-range.ts'
import { MAX_L1_BYTES, MAX_SNAPSHOTS, SNAPSHOT_ENTRY_BYTES, validateTable } from '../format/limits.ts'
import { MAX_SNAPSHOT_TABLE_BYTES } from '../format/rare-limits.ts'
import {
  clipSnapshot,
  MAX_SNAPSHOT_HEAD,
  parseSnapshotTable,
  type Snapshot,
  snapshotSizes,
} from '../format/snapshot-layout.ts'
import type { Image } from '../image/image.ts'

/** Bytes of the longest entry: id and name have 16-bit lengths. */
const MAX_ENTRY = MAX_SNAPSHOT_HEAD + 2 * 0xffff
/** Bytes of the table that are read at once: more than {@link MAX_ENTRY}. */
const PIECE = 2 ** 18
/**
 * Bytes of the file that the entries may cover, whatever a repair leaves of them (block/qcow2-snapshot.c).
 */
const MAX_SPAN = 2 ** 31 - 1

/** Part of the table. */
export interface SnapshotPiece {
  readonly snapshots: readonly Snapshot[]
  /** The ranges of the file that hold it; more than one only if excess data between them was left out. */
  readonly ranges: readonly HostRange[]
}

/** Reports what a repair cuts off. */
export interface SnapshotCuts {
  /** Called for an entry that claims this many bytes of extra data. */
  extraData?(index: number, bytes: number): void
  /** Called with the number of cut entries: the table is too long, or they are behind the end of the file. */
  overhanging?(count: number, why: 'length' | 'end of file'): void
}

/** The error for a table that a repair would cut. */
const tooMuch = (image: Image, message: string, what: string): BlockError =>
  new BlockError('EFBIG', message, {
    node: image.settings.nodeName,
    hint: `You can force-remove ${what} with qemu-img check -r all`,
  })

/** The error for a table of which a repair would cut `count` entries. */
export const overhanging = (image: Image, message: string, count: number): BlockError =>
  tooMuch(image, message, `all ${count} overhanging snapshots`)

/**
 * Reads the table piece by piece: it may have 64 MiB, and no caller needs all of it at once. The L1 tables
 * are not validated: see {@link loadSnapshotRanges}.
 *
 * During a repair that cuts the table (`snapshotTableLimit`), what is too much is left out instead of
 * refused.
 *
 * @throws BlockError EFBIG with a hint, or the error of the file
 */
export async function* walkSnapshots(image: Image, cuts: SnapshotCuts = {}): AsyncGenerator<SnapshotPiece> {
  const { nbSnapshots, snapshotsOffset } = image.header
  // A check opens images that an ordinary open refuses.
  if (nbSnapshots > MAX_SNAPSHOTS)
    throw overhanging(image, 'Snapshot table too large', nbSnapshots - MAX_SNAPSHOTS)
  const isCut = image.snapshotTableLimit !== undefined
  // A last cluster beyond the end of the file still belongs to the table (qcow2_inc_refcounts_imrt).
  const cutAt = (image.snapshotTableLimit ?? Number.POSITIVE_INFINITY) + image.geometry.clusterSize
  /** Bytes of the entries so far: in the file, and without the cut data. */
  let end = 0
  let length = 0
  let read = new Uint8Array(0)
  let readFrom = 0
  for (let done = 0; done < nbSnapshots; ) {
    const start = alignUp(end, 8)
    const offset = snapshotsOffset + start
    if (start + MAX_ENTRY > readFrom + read.length) {
      read = await readTable(image, offset, Math.min(PIECE, Math.max(MAX_SPAN - start, 0)))
      readFrom = start
    }
    const bytes = read.subarray(start - readFrom)
    const until = cutAt - offset
    const { snapshots, length: added, stop } = parseSnapshotTable(bytes, nbSnapshots - done, length, until)
    let piece: SnapshotPiece | undefined
    if (snapshots.length > 0) {
      piece = { snapshots, ranges: [{ offset, bytes: added }] }
      length = alignUp(length, 8) + added
      end = start + added
    } else if (stop === 'extra data') {
      const { extraData, names } = snapshotSizes(bytes)
      if (!isCut)
        throw tooMuch(image, `Too much extra metadata in snapshot table entry ${done}`, 'this extra metadata')
      cuts.extraData?.(done, extraData)
      length = alignUp(length, 8) + MAX_SNAPSHOT_HEAD + names
      end = start + SNAPSHOT_ENTRY_BYTES + extraData + names
      if (length <= MAX_SNAPSHOT_TABLE_BYTES && end <= MAX_SPAN) {
        const head = bytes.slice(0, MAX_SNAPSHOT_HEAD)
        const namesAt = snapshotsOffset + end - names
        piece = {
          snapshots: [clipSnapshot(head, await readTable(image, namesAt, names))],
          ranges: [
            { offset, bytes: head.length },
            { offset: namesAt, bytes: names },
          ],
        }
      }
    }
    if (!piece) {
      const left = nbSnapshots - done
      if (isCut) return cuts.overhanging?.(left, until <= 0 ? 'end of file' : 'length')
      throw overhanging(image, 'Snapshot table is too big', left)
    }
    yield piece
    done += piece.snapshots.length
  }
}

/** The end of the file, in whole clusters, when a repair began. */
const fileEnd = ({ snapshotTableLimit: limit, geometry }: Image): number =>
  limit === undefined ? Number.POSITIVE_INFINITY : alignUp(limit, geometry.clusterSize)

/** Bytes of the table; zeroes behind the end of the file, and beyond 2^53-1, where no file reaches. */
async function readTable(image: Image, offset: number, length: number): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(length)
  const there = Math.min(length, fileEnd(image) - offset)
  if (there > 0 && offset <= Number.MAX_SAFE_INTEGER - length)
    await image.file.read(offset, bytes.subarray(0, there))
  return bytes
}

/** The ranges of the file that the table occupies. */
export class TableRanges {
  readonly #image: Image
  /** In order; ranges that share a cluster, or are adjacent, are merged. */
  readonly #ranges: HostRange[] = []

  constructor(image: Image) {
    this.#image = image
  }

  add({ ranges }: SnapshotPiece): void {
    const { clusterSize } = this.#image.geometry
    for (const range of ranges) {
      const last = this.#ranges.pop()
      const joins = last && range.offset <= alignUp(last.offset + last.bytes, clusterSize)
      if (last && !joins) this.#ranges.push(last)
      const offset = joins ? last.offset : range.offset
      this.#ranges.push({ offset, bytes: range.offset + range.bytes - offset })
    }
  }

  /**
   * One range from beginning to end. If it reaches beyond the file by a cluster or more, a repair counts only
   * the ranges that it keeps: the clusters between may belong to other structures.
   */
  get all(): readonly HostRange[] {
    const { snapshotTableLimit: limit, geometry } = this.#image
    const [first, last] = [this.#ranges[0], this.#ranges[this.#ranges.length - 1]]
    if (!first || !last) return []
    const end = last.offset + last.bytes
    if (limit === undefined || end - limit < geometry.clusterSize)
      return [{ offset: first.offset, bytes: end - first.offset }]
    const stop = fileEnd(this.#image)
    return this.#ranges
      .filter(({ offset }) => offset < stop)
      .map(({ offset, bytes }) => ({ offset, bytes: Math.min(bytes, stop - offset) }))
  }
}

/**
 * Finds the ranges that snapshots occupy, and makes sure that the L1 tables may be read. In check mode,
 * invalid ones are skipped: tables that do not exist need no protection from writes.
 */
export async function loadSnapshotRanges(image: Image): Promise<SnapshotRanges> {
  const table = new TableRanges(image)
  const l1Tables: HostRange[] = []
  for await (const piece of walkSnapshots(image)) {
    table.add(piece)
    for (const { l1TableOffset, l1Size } of piece.snapshots) {
      // Above 2^53-1 it may be rounded here, and is refused.
      const offset = Number(l1TableOffset)
      try {
        validateTable(offset, l1Size, 8, MAX_L1_BYTES, image.geometry.clusterSize, 'Snapshot L1 table')
      } catch (error) {
        if (image.settings.checkMode) continue
        throw error
      }
      l1Tables.push({ offset, bytes: l1Size * 8 })
    }
  }
  return { table: table.all, l1Tables }
}

/** Bytes of an id, and of a name, that count (include/block/snapshot.h). */
export const ID_BYTES = 127
/** See {@link ID_BYTES}. */
export const NAME_BYTES = 255

/** The snapshots of the image. @throws BlockError EFBIG with a hint, or the error of the file */
export async function listSnapshots(image: Image): Promise<SnapshotInfo[]> {
  const list: SnapshotInfo[] = []
  for await (const { snapshots } of walkSnapshots(image))
    for (const snapshot of snapshots) list.push(infoOf(snapshot))
  return list
}

/** A snapshot as it is listed. */
export function infoOf(snapshot: Snapshot): SnapshotInfo {
  const { id, name, vmStateSize, diskSize, dateSec, dateNsec, vmClockNsec, icount } = snapshot
  return {
    id: shortened(id, ID_BYTES),
    name: shortened(name, NAME_BYTES),
    vmStateSize,
    ...(diskSize !== undefined && { diskSize }),
    dateSec,
    dateNsec,
    vmClockNsec,
    ...(icount !== undefined && { icount }),
  }
}

const listed = new TextDecoder('utf-8', { ignoreBOM: true })

/** A name for display: bytes that are not UTF-8 are replaced by U+FFFD. */
const shortened = (name: Uint8Array, bytes: number): string => listed.decode(name.subarray(0, bytes))
