/** The snapshot table: entries of variable length, each beginning at a multiple of 8 bytes. */
import { alignUp, BlockError, be, layout } from '@vmblock/block-core/driver'
import { SNAPSHOT_ENTRY_BYTES } from './limits.ts'
import { MAX_SNAPSHOT_EXTRA_DATA, MAX_SNAPSHOT_TABLE_BYTES } from './rare-limits.ts'

/** The fixed part of an entry; extra data, id and name follow. */
// biome-ignore format: columns, as in the specification
export const snapshotHeader = layout('snapshot table entry', SNAPSHOT_ENTRY_BYTES, {
  l1TableOffset: be.flags64(0),
  l1Size:        be.u32(8),
  idSize:        be.u16(12),
  nameSize:      be.u16(14),
  dateSec:       be.u32(16),
  dateNsec:      be.u32(20),
  vmClockNsec:   be.flags64(24),
  vmStateSize:   be.u32(32),
  extraDataSize: be.u32(36),
})

/** The known extra data. */
// biome-ignore format: columns, as in the specification
const extraData = layout('snapshot extra data', 24, {
  vmStateSize: be.flags64(0),
  diskSize:    be.flags64(8),
  icount:      be.flags64(16),
})

/** The icount that stands for none. */
const NO_ICOUNT = 0xffff_ffff_ffff_ffffn

/** One internal snapshot. */
export interface Snapshot {
  /** Bytes; not checked here. */
  l1TableOffset: bigint
  /** Entries; not checked here. */
  l1Size: number
  /** Bytes, as in the file, up to the first NUL; `decodeName` decodes them. */
  id: Uint8Array
  name: Uint8Array
  dateSec: number
  dateNsec: number
  vmClockNsec: bigint
  /** Bytes; not checked here. */
  vmStateSize: bigint
  /**
   * Bytes of the disk when the snapshot was made; absent in old images, in which it is the image's own size.
   */
  diskSize: bigint | undefined
  icount: bigint | undefined
  /** Bytes of extra data of the entry, known and unknown. */
  extraDataSize: number
  /** Extra data past the known part, kept verbatim. */
  unknownExtraData: Uint8Array
}

/** The result of {@link parseSnapshotTable}. */
export interface SnapshotTable {
  readonly snapshots: Snapshot[]
  /** Bytes that the entries cover, without padding behind the last. */
  readonly length: number
  /**
   * Why parsing stopped: all entries were read; `bytes` ended within one, or `until` was reached; the next
   * one has too much extra data, and was not read; or the table would become too long.
   */
  readonly stop: 'count' | 'bytes' | 'extra data' | 'limit'
}

interface Cursor {
  readonly bytes: Uint8Array
  at: number
}

/** The next `length` bytes; undefined if the array ends before. */
function take(cursor: Cursor, length: number): Uint8Array | undefined {
  if (cursor.at + length > cursor.bytes.length) return undefined
  const taken = cursor.bytes.subarray(cursor.at, cursor.at + length)
  cursor.at += length
  return taken
}

/** A name ends as a C string does. */
function untilNul(bytes: Uint8Array): Uint8Array {
  const end = bytes.indexOf(0)
  return end < 0 ? bytes : bytes.subarray(0, end)
}

/** One entry, or undefined if the array ends within it. Its names share memory with the array. */
function parseEntry(cursor: Cursor): Snapshot | undefined {
  const fixed = take(cursor, snapshotHeader.size)
  if (!fixed) return undefined
  const header = snapshotHeader.read(fixed)
  const extra = take(cursor, header.extraDataSize)
  const id = extra && take(cursor, header.idSize)
  const name = id && take(cursor, header.nameSize)
  if (!name) return undefined
  const known = new Uint8Array(extraData.size)
  known.set(extra.subarray(0, extraData.size))
  const more = extraData.read(known)
  const has = (field: keyof typeof extraData.fields): boolean =>
    extra.length >= extraData.fields[field].at + extraData.fields[field].width
  return {
    l1TableOffset: header.l1TableOffset,
    l1Size: header.l1Size,
    id: untilNul(id),
    name: untilNul(name),
    dateSec: header.dateSec,
    dateNsec: header.dateNsec,
    vmClockNsec: header.vmClockNsec,
    vmStateSize: has('vmStateSize') ? more.vmStateSize : BigInt(header.vmStateSize),
    diskSize: has('diskSize') ? more.diskSize : undefined,
    icount: has('icount') && more.icount !== NO_ICOUNT ? more.icount : undefined,
    extraDataSize: extra.length,
    unknownExtraData: extra.slice(extraData.size),
  }
}

/**
 * Reads up to `count` entries, within `bytes` and the limits (block/qcow2-snapshot.c,
 * qcow2_do_read_snapshots). The length of the table is known only after it was read.
 *
 * @param before bytes of the entries that come before these
 * @param until byte offset from which on no entry may begin
 */
export function parseSnapshotTable(
  bytes: Uint8Array,
  count: number,
  before = 0,
  until = bytes.length,
): SnapshotTable {
  const snapshots: Snapshot[] = []
  const cursor: Cursor = { bytes, at: 0 }
  const base = alignUp(before, 8)
  let length = 0
  const ended = (stop: SnapshotTable['stop']): SnapshotTable => ({ snapshots, length, stop })
  while (snapshots.length < count) {
    cursor.at = alignUp(cursor.at, 8)
    if (cursor.at >= until) return ended('bytes')
    if (extraSizeAt(bytes, cursor.at) > MAX_SNAPSHOT_EXTRA_DATA) return ended('extra data')
    const snapshot = parseEntry(cursor)
    if (!snapshot) return ended('bytes')
    if (base + cursor.at > MAX_SNAPSHOT_TABLE_BYTES) return ended('limit')
    snapshots.push(snapshot)
    length = cursor.at
  }
  return ended('count')
}

/** Bytes of extra data that each entry of a version 3 image has: up to the size of the disk. */
const LEAST_EXTRA_DATA = 16

/** Whether an entry has all the data that version 3 requires. */
export const isComplete = ({ extraDataSize }: Snapshot): boolean => extraDataSize >= LEAST_EXTRA_DATA

/** Bytes of an entry before its id and name, with the most extra data that is allowed. */
export const MAX_SNAPSHOT_HEAD = SNAPSHOT_ENTRY_BYTES + MAX_SNAPSHOT_EXTRA_DATA

/** Bytes of extra data, and of id and name, that an entry claims; `head` holds its fixed part. */
export function snapshotSizes(head: Uint8Array): { readonly extraData: number; readonly names: number } {
  const { extraDataSize, idSize, nameSize } = snapshotHeader.read(head)
  return { extraData: extraDataSize, names: idSize + nameSize }
}

/**
 * An entry with too much extra data, cut to the limit.
 *
 * @param head its first {@link MAX_SNAPSHOT_HEAD} bytes
 * @param names its id and name
 */
export function clipSnapshot(head: Uint8Array, names: Uint8Array): Snapshot {
  const bytes = new Uint8Array(head.length + names.length)
  bytes.set(head)
  bytes.set(names, head.length)
  snapshotHeader.write(bytes, { ...snapshotHeader.read(head), extraDataSize: MAX_SNAPSHOT_EXTRA_DATA })
  return parseEntry({ bytes, at: 0 })!
}

/** Bytes of extra data that the entry at `at` claims; 0 if `bytes` ends before. */
function extraSizeAt(bytes: Uint8Array, at: number): number {
  if (at + snapshotHeader.size > bytes.length) return 0
  return snapshotHeader.read(bytes, at).extraDataSize
}

/**
 * The table as bytes, in QEMU's form: always with the known extra data. A VM state too large for 32 bits is 0
 * in the old field, so that old readers see a snapshot of the disk alone.
 *
 * @param imageSize bytes, for snapshots without a size of their own
 * @throws BlockError EFBIG above 64 MiB
 */
export function serializeSnapshotTable(snapshots: readonly Snapshot[], imageSize: number): Uint8Array {
  const entries = snapshots.map((snapshot) => serializeEntry(snapshot, imageSize))
  const total = entries.reduce((end, entry) => alignUp(end, 8) + entry.length, 0)
  if (total > MAX_SNAPSHOT_TABLE_BYTES) throw new BlockError('EFBIG', 'Snapshot table is too big')
  const table = new Uint8Array(total)
  let at = 0
  for (const entry of entries) {
    at = alignUp(at, 8)
    table.set(entry, at)
    at += entry.length
  }
  return table
}

function serializeEntry(snapshot: Snapshot, imageSize: number): Uint8Array {
  const { id, name, unknownExtraData, vmStateSize } = snapshot
  const extraSize = extraData.size + unknownExtraData.length
  const bytes = new Uint8Array(snapshotHeader.size + extraSize + id.length + name.length)
  snapshotHeader.write(bytes, {
    ...snapshot,
    idSize: id.length,
    nameSize: name.length,
    vmStateSize: vmStateSize <= 0xffff_ffffn ? Number(vmStateSize) : 0,
    extraDataSize: extraSize,
  })
  const { diskSize = BigInt(imageSize), icount = NO_ICOUNT } = snapshot
  extraData.write(bytes, { vmStateSize, diskSize, icount }, snapshotHeader.size)
  let at = snapshotHeader.size + extraData.size
  for (const part of [unknownExtraData, id, name]) {
    bytes.set(part, at)
    at += part.length
  }
  return bytes
}
