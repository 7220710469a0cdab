/** The header as bytes, with all its unknown parts: written when an image is made, and where more than a few fields change. */
import { alignUp, BlockError, SECTOR, viewOf } from '@vmblock/block-core/driver'
import { encodeName } from './encode-name.ts'
import { ExtensionType, type HeaderExtensions } from './extensions.ts'
import { FEATURE_NAMES, type FeatureName, featureTable } from './feature-names.ts'
import { COMPRESSION_TYPES, type Header } from './header.ts'
import { COMPRESSION_TYPE_AT, headerV2, headerV3, MAGIC, V2_LENGTH, V3_LENGTH } from './header-layout.ts'
import { bitmapsLayout, luksLayout } from './rare-extensions.ts'

/** An extension with its type and length, padded to 8 bytes. */
function packed(type: number, data: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(8 + alignUp(data.length, 8))
  const view = viewOf(bytes)
  view.setUint32(0, type)
  view.setUint32(4, data.length)
  bytes.set(data, 8)
  return bytes
}

/**
 * The extensions as bytes, one array each, with the end mark. In QEMU's order, but for that of the bitmaps: it comes
 * first, in the first sector of the file with all other fields that change when an image is in use. So a write of the
 * header that is torn by a power cut leaves the old bitmaps or the new ones.
 *
 * @param names feature name table to write; none if empty
 */
function serializeExtensions(extensions: HeaderExtensions, names: readonly FeatureName[]): Uint8Array[] {
  const { backingFormat, dataFile, luksHeader, bitmaps, unknown } = extensions
  const parts: Uint8Array[] = []
  if (bitmaps) {
    const data = new Uint8Array(bitmapsLayout.size)
    bitmapsLayout.write(data, { ...bitmaps, reserved: 0 })
    parts.push(packed(ExtensionType.bitmaps, data))
  }
  if (backingFormat) parts.push(packed(ExtensionType.backingFormat, encodeName(backingFormat)))
  if (dataFile !== undefined) parts.push(packed(ExtensionType.dataFile, encodeName(dataFile)))
  if (luksHeader) {
    const data = new Uint8Array(luksLayout.size)
    luksLayout.write(data, luksHeader)
    parts.push(packed(ExtensionType.luksHeader, data))
  }
  if (names.length > 0) parts.push(packed(ExtensionType.featureNames, featureTable(names)))
  for (const { type, data } of unknown) parts.push(packed(type, data))
  parts.push(packed(ExtensionType.end, new Uint8Array(0)))
  return parts
}

/**
 * The least bytes that a rewritten header covers, so that the end of a longer one does not stay behind it.
 */
const WRITE_UNIT = 4096
/** With clusters up to this size, QEMU omits the feature name table, to have room for names. */
const NO_NAMES_CLUSTER = 4096

/**
 * The header as it is written at byte 0: fixed part, unknown fields, extensions, backing file name; then
 * zeroes up to a multiple of 4 KiB, or to the end of the cluster. With bitmaps, only the first sector, if the others
 * hold no more than the name: another program may have put the extension there, which must stay until it is replaced.
 *
 * @param hasSameName the name is that which lies at `backingFileOffset` already
 * @throws BlockError ENOSPC if it does not fit in one cluster
 */
export function serializeHeader(header: Header, clusterSize: number, hasSameName = false): Uint8Array {
  const { version, unknownFields, backingFile, extensions } = header
  const kept = version === 2 ? new Uint8Array(0) : unknownFields
  const fixed = version === 2 ? V2_LENGTH : V3_LENGTH
  const partsWith = (names: readonly FeatureName[]): Uint8Array[] => [
    kept,
    ...serializeExtensions(extensions, names),
  ]
  const endOf = (list: readonly Uint8Array[]): number => list.reduce((end, part) => end + part.length, fixed)
  let parts = partsWith(version >= 3 && clusterSize > NO_NAMES_CLUSTER ? FEATURE_NAMES : [])
  // Names of features are a help for other programs, and bitmaps are safer in the first sector (see above).
  if (extensions.bitmaps && endOf(parts) > SECTOR) parts = partsWith([])
  const name = backingFile === undefined ? new Uint8Array(0) : encodeName(backingFile)
  const before = header.backingFileOffset ?? 0
  // The name stays where it is, if it can: it may reach into another sector than the field that says where.
  const nameAt = before + name.length > clusterSize ? endOf(parts) : Math.max(endOf(parts), before)
  const end = nameAt + name.length
  if (end > clusterSize) throw new BlockError('ENOSPC', 'The header does not fit in one cluster')

  const bytes = new Uint8Array(Math.min(clusterSize, alignUp(end, WRITE_UNIT)))
  headerV2.write(bytes, {
    ...header,
    magic: MAGIC,
    backingFileOffset: backingFile === undefined ? 0 : nameAt,
    backingFileSize: name.length,
  })
  if (version >= 3) {
    headerV3.write(bytes, { ...header, headerLength: V3_LENGTH + kept.length }, V2_LENGTH)
    bytes[COMPRESSION_TYPE_AT] = COMPRESSION_TYPES.indexOf(header.compressionType)
  }
  let at = fixed
  for (const part of parts) {
    bytes.set(part, at)
    at += part.length
  }
  bytes.set(name, nameAt)
  const isNameThere = name.length === 0 || nameAt === before || end <= SECTOR
  const isInSector = extensions.bitmaps && hasSameName && isNameThere && endOf(parts) <= SECTOR
  return isInSector ? bytes.subarray(0, SECTOR) : bytes
}
