/** The fixed part of a qcow2 header, as docs/interop/qcow2.txt lays it out. Big-endian. */
import { be, type Field, layout, type ValueOf, viewOf } from '@vmblock/block-core'
import { wide64 } from './words.ts'

/** "QFI" and 0xfb. */
export const MAGIC = 0x5146_49fb

/** Bytes 0-71: all of a version 2 header, and the start of a version 3 one. */
// biome-ignore format: columns, as in the specification
export const headerV2 = layout('qcow2 header', 72, {
  magic:                 be.u32(0),
  version:               be.u32(4),
  backingFileOffset:     wide64(8),
  backingFileSize:       be.u32(16),
  clusterBits:           be.u32(20),
  size:                  wide64(24),
  cryptMethod:           be.u32(32),
  l1Size:                be.u32(36),
  l1TableOffset:         wide64(40),
  refcountTableOffset:   wide64(48),
  refcountTableClusters: be.u32(56),
  nbSnapshots:           be.u32(60),
  snapshotsOffset:       wide64(64),
})

/** Bytes 72-103: what version 3 adds. `at` counts from byte 72. */
// biome-ignore format: columns, as in the specification
export const headerV3 = layout('qcow2 v3 header', 32, {
  incompatible:  be.flags64(0),
  compatible:    be.flags64(8),
  autoclear:     be.flags64(16),
  refcountOrder: be.u32(24),
  headerLength:  be.u32(28),
})

/** Bytes 104-111, present if the header says that it is longer than 104 bytes. `at` counts from byte 104. */
// biome-ignore format: columns, as in the specification
export const headerAdditional = layout('qcow2 header, additional fields', 8, {
  compressionType: be.u8(0),
  padding1:        be.u8(1),
  padding2:        be.u16(2),
  padding4:        be.u32(4),
})

/** The fields of {@link headerV2}. */
export type HeaderV2 = ValueOf<typeof headerV2.fields>
/** The fields of {@link headerV3}. */
export type HeaderV3 = ValueOf<typeof headerV3.fields>
/** Fields that may be written alone, without the rest of the header. */
export type HeaderFields = Partial<HeaderV2 & HeaderV3>

/** Bytes of a version 2 header. */
export const V2_LENGTH = headerV2.size
/** Bytes of the shortest version 3 header. */
export const V3_MIN_LENGTH = headerV2.size + headerV3.size
/** Bytes of the version 3 header that this library writes, and QEMU since 5.1. */
export const V3_LENGTH = V3_MIN_LENGTH + headerAdditional.size

/** Offsets of fields in the file, in bytes. */
export const HEADER_FIELD = {
  backingFileOffset: headerV2.fields.backingFileOffset.at,
  backingFileSize: headerV2.fields.backingFileSize.at,
  size: headerV2.fields.size.at,
  l1Size: headerV2.fields.l1Size.at,
  l1TableOffset: headerV2.fields.l1TableOffset.at,
  refcountTableOffset: headerV2.fields.refcountTableOffset.at,
  refcountTableClusters: headerV2.fields.refcountTableClusters.at,
  nbSnapshots: headerV2.fields.nbSnapshots.at,
  snapshotsOffset: headerV2.fields.snapshotsOffset.at,
  incompatible: V2_LENGTH + headerV3.fields.incompatible.at,
  compatible: V2_LENGTH + headerV3.fields.compatible.at,
  autoclear: V2_LENGTH + headerV3.fields.autoclear.at,
  refcountOrder: V2_LENGTH + headerV3.fields.refcountOrder.at,
  headerLength: V2_LENGTH + headerV3.fields.headerLength.at,
  compressionType: V3_MIN_LENGTH + headerAdditional.fields.compressionType.at,
} as const

/**
 * The bytes of some fields, as they lie in the file.
 *
 * @param fields neighbours on disk, in any order
 * @throws Error if there is another field between them
 */
export function headerFieldBytes(fields: HeaderFields): {
  readonly offset: number
  readonly bytes: Uint8Array
} {
  const placed = [headerV2, headerV3].flatMap((part, i) =>
    (Object.entries(part.fields) as [keyof HeaderFields, Field<unknown>][])
      .filter(([name]) => name in fields)
      .map(([name, field]) => ({ field, base: i * V2_LENGTH, value: fields[name] })),
  )
  const [first, last] = [placed[0]!, placed[placed.length - 1]!]
  const offset = first.base + first.field.at
  const bytes = new Uint8Array(last.base + last.field.at + last.field.width - offset)
  if (placed.reduce((sum, { field }) => sum + field.width, 0) !== bytes.length)
    throw new Error('these header fields are not neighbours')
  for (const { field, base, value } of placed) field.set(viewOf(bytes), base - offset, value)
  return { offset, bytes }
}
