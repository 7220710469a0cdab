/** The fixed part of a qcow2 header, as docs/interop/qcow2.txt lays it out. Big-endian. */
import { be, type Field, layout, type ValueOf, viewOf } from '@vmblock/block-core/driver'
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
/** The byte with the compression type, which a longer header has; seven bytes of padding follow it. */
export const COMPRESSION_TYPE_AT = V3_MIN_LENGTH
/** Bytes of the version 3 header that this library writes, and QEMU since 5.1. */
export const V3_LENGTH = COMPRESSION_TYPE_AT + 8

/** Offsets of fields in the file, in bytes. The annotation lets bundlers drop what only tests use. */
export const HEADER_FIELD = /* @__PURE__ */ offsetsOf()

function offsetsOf() {
  const { fields } = headerV2
  const { incompatible, compatible, autoclear, refcountOrder, headerLength } = headerV3.fields
  return {
    backingFileOffset: fields.backingFileOffset.at,
    backingFileSize: fields.backingFileSize.at,
    size: fields.size.at,
    l1Size: fields.l1Size.at,
    l1TableOffset: fields.l1TableOffset.at,
    refcountTableOffset: fields.refcountTableOffset.at,
    refcountTableClusters: fields.refcountTableClusters.at,
    nbSnapshots: fields.nbSnapshots.at,
    snapshotsOffset: fields.snapshotsOffset.at,
    incompatible: V2_LENGTH + incompatible.at,
    compatible: V2_LENGTH + compatible.at,
    autoclear: V2_LENGTH + autoclear.at,
    refcountOrder: V2_LENGTH + refcountOrder.at,
    headerLength: V2_LENGTH + headerLength.at,
    compressionType: COMPRESSION_TYPE_AT,
  } as const
}

/**
 * The bytes of some fields, as they lie in the file.
 *
 * @param values of these fields, and perhaps of others
 * @param fields has the names of neighbours on disk, in any order; default: those of `values`
 * @throws Error if there is another field between them
 */
export function headerFieldBytes(
  values: { readonly [Name in keyof HeaderFields]: HeaderFields[Name] | undefined },
  fields: object = values,
): {
  readonly offset: number
  readonly bytes: Uint8Array
} {
  const header = new Uint8Array(V3_MIN_LENGTH)
  let offset = -1
  let end = 0
  let length = 0
  for (const [all, base] of [
    [headerV2.fields, 0],
    [headerV3.fields, V2_LENGTH],
  ] as const)
    for (const [name, field] of Object.entries(all) as [keyof HeaderFields, Field<unknown>][]) {
      if (!(name in fields)) continue
      field.set(viewOf(header), base, values[name])
      if (offset < 0) offset = base + field.at
      end = base + field.at + field.width
      length += field.width
    }
  if (offset + length !== end) throw new Error('these header fields are not neighbours')
  return { offset, bytes: header.subarray(offset, end) }
}
