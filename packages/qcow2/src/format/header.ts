/**
 * The qcow2 header as a value: parsed and checked in QEMU's order with QEMU's messages. Writing it is the work
 * of serialize-header.ts.
 */
import { BlockError } from '@vmblock/block-core/driver'
import { type HeaderExtensions, parseExtensions, type RareHeaderCode } from './extensions.ts'
import { Incompatible, KNOWN_INCOMPATIBLE } from './features.ts'
import { geometryOf, l1EntriesFor, MAX_CLUSTER_BITS, MIN_CLUSTER_BITS } from './geometry.ts'
import {
  COMPRESSION_TYPE_AT,
  type HeaderV2,
  type HeaderV3,
  headerV2,
  headerV3,
  MAGIC,
  V2_LENGTH,
  V3_LENGTH,
  V3_MIN_LENGTH,
} from './header-layout.ts'
import {
  MAX_BACKING_NAME,
  MAX_L1_BYTES,
  MAX_L1_INDEX,
  MAX_REFCOUNT_TABLE_BYTES,
  MAX_SNAPSHOTS,
  SNAPSHOT_ENTRY_BYTES,
  validateTable,
} from './limits.ts'
import { decodeName } from './words.ts'

export { HEADER_FIELD } from './header-layout.ts'

/** How compressed clusters are compressed. */
export type CompressionType = 'zlib' | 'zstd'

/**
 * A header. Offsets are bytes. That of an open image changes, but only in its `image/header-writer.ts`.
 */
export interface Header {
  /** 2 or 3. */
  readonly version: number
  /** Offset of the name; absent without a name. `serializeHeader` computes its own. */
  readonly backingFileOffset?: number | undefined
  readonly backingFile: string | undefined
  readonly clusterBits: number
  /** Virtual size in bytes. */
  readonly size: number
  /** 0 none, 1 AES-CBC, 2 LUKS. */
  readonly cryptMethod: number
  /** Entries. */
  readonly l1Size: number
  readonly l1TableOffset: number
  readonly refcountTableOffset: number
  readonly refcountTableClusters: number
  readonly nbSnapshots: number
  /** Unchecked in check mode, where it may also exceed 2^53-1. */
  readonly snapshotsOffset: number
  readonly incompatible: bigint
  readonly compatible: bigint
  readonly autoclear: bigint
  /** 0 to 6: the width of refcounts is 2 to this. */
  readonly refcountOrder: number
  /** As found; `serializeHeader` computes its own. */
  readonly headerLength: number
  readonly compressionType: CompressionType
  /** Header bytes past the known ones, kept verbatim. */
  readonly unknownFields: Uint8Array
  readonly extensions: HeaderExtensions
}

/** By their number in the header. */
export const COMPRESSION_TYPES: readonly CompressionType[] = ['zlib', 'zstd']

const invalid = (message: string): BlockError => new BlockError('EINVAL', message)

/**
 * Bytes that {@link parseHeader} needs (one cluster), determined from the first 72 bytes or more; 512 if
 * those are not the header of an image.
 */
export function headerAreaBytes(head: Uint8Array): number {
  if (head.length < V2_LENGTH) return 512
  const { magic, clusterBits } = headerV2.read(head)
  const sane = magic === MAGIC && clusterBits >= MIN_CLUSTER_BITS && clusterBits <= MAX_CLUSTER_BITS
  return sane ? 2 ** clusterBits : 512
}

/** `bytes`, filled up with zeroes to `length`, as files read past their end. */
function zeroExtended(bytes: Uint8Array, length: number): Uint8Array {
  if (bytes.length >= length) return bytes
  const extended = new Uint8Array(length)
  extended.set(bytes)
  return extended
}

/** The fields of version 3, or their meaning in version 2. */
function readVersion3(bytes: Uint8Array, version: number): HeaderV3 {
  if (version === 2)
    return { incompatible: 0n, compatible: 0n, autoclear: 0n, refcountOrder: 4, headerLength: V2_LENGTH }
  const fields = headerV3.read(bytes, V2_LENGTH)
  if (fields.headerLength < V3_MIN_LENGTH) throw invalid('qcow2 header too short')
  return fields
}

function readCompressionType(bytes: Uint8Array, { headerLength, incompatible }: HeaderV3): CompressionType {
  const number = headerLength > COMPRESSION_TYPE_AT ? bytes[COMPRESSION_TYPE_AT]! : 0
  const type = COMPRESSION_TYPES[number]
  if (type === undefined) throw new BlockError('ENOTSUP', `qcow2: unknown compression type: ${number}`)
  const flagged = (incompatible & Incompatible.compression) !== 0n
  if ((number !== 0) !== flagged)
    throw invalid(`qcow2: Compression type incompatible feature bit must${flagged ? ' not' : ''} be set`)
  return type
}

function checkTables(v2: HeaderV2, v3: HeaderV3, checkMode: boolean): void {
  const extendedL2 = (v3.incompatible & Incompatible.extendedL2) !== 0n
  const geometry = geometryOf(v2.clusterBits, v3.refcountOrder, extendedL2)
  const { clusterSize, subclusterSize } = geometry
  if (subclusterSize < 2 ** MIN_CLUSTER_BITS) throw invalid(`Unsupported subcluster size: ${subclusterSize}`)
  if (v3.refcountOrder > 6) throw invalid('Reference count entry width too large; may not exceed 64 bits')
  if (v2.refcountTableClusters === 0 && !checkMode)
    throw invalid('Image does not contain a reference count table')

  const check = (offset: number, entries: number, entryBytes: number, maxBytes: number, what: string): void =>
    validateTable(offset, entries, entryBytes, maxBytes, clusterSize, what)
  const { refcountTableOffset, refcountTableClusters, nbSnapshots, snapshotsOffset, l1TableOffset, l1Size } =
    v2
  check(
    refcountTableOffset,
    refcountTableClusters,
    clusterSize,
    MAX_REFCOUNT_TABLE_BYTES,
    'Reference count table',
  )
  if (!checkMode) {
    const least = SNAPSHOT_ENTRY_BYTES
    check(snapshotsOffset, nbSnapshots, least, least * MAX_SNAPSHOTS, 'Snapshot table')
  }
  check(l1TableOffset, l1Size, 8, MAX_L1_BYTES, 'Active L1 table')

  const l1Needed = l1EntriesFor(geometry, v2.size)
  if (l1Needed > MAX_L1_INDEX) throw new BlockError('EFBIG', 'Image is too big')
  if (l1Size < l1Needed) throw invalid('L1 table is too small')
  if (v2.size > Number.MAX_SAFE_INTEGER) throw new BlockError('EFBIG', 'Image size exceeds 2^53-1')
  if (v2.cryptMethod > 2) throw invalid(`Unsupported encryption method ${v2.cryptMethod}`)
}

function readBackingFile(
  bytes: Uint8Array,
  { backingFileOffset, backingFileSize }: HeaderV2,
  clusterSize: number,
) {
  if (backingFileOffset === 0) return undefined
  if (backingFileSize > Math.min(MAX_BACKING_NAME, clusterSize - backingFileOffset))
    throw invalid('Backing file name too long')
  const name = decodeName(bytes.subarray(backingFileOffset, backingFileOffset + backingFileSize))
  return name === '' ? undefined : name
}

/**
 * Reads and checks a header. The rules, their order and their messages are those of QEMU 7.2 (block/qcow2.c,
 * qcow2_do_open); checks that depend on how the image is opened (the corrupt bit, encryption, a missing data
 * file) are left to the driver.
 *
 * @param bytes the first cluster ({@link headerAreaBytes}), or less of it if the file is shorter
 * @param checkMode opened only to be checked: a missing refcount table or a bad snapshot table is tolerated
 * @param loadRare loads the code for what few headers have
 * @throws BlockError EFORMAT if not qcow2; ENOTSUP for an unknown version or feature; EINVAL, EFBIG if broken; EIO if
 *   code cannot be loaded
 */
export async function parseHeader(
  bytes: Uint8Array,
  checkMode: boolean,
  loadRare: () => Promise<RareHeaderCode>,
): Promise<Header> {
  const head = zeroExtended(bytes, V3_LENGTH)
  const v2 = headerV2.read(head)
  if (v2.magic !== MAGIC) throw new BlockError('EFORMAT', 'Image is not in qcow2 format')
  if (v2.version < 2 || v2.version > 3)
    throw new BlockError('ENOTSUP', `Unsupported qcow2 version ${v2.version}`)
  if (v2.clusterBits < MIN_CLUSTER_BITS || v2.clusterBits > MAX_CLUSTER_BITS)
    throw invalid(`Unsupported cluster size: 2^${v2.clusterBits}`)

  const clusterSize = 2 ** v2.clusterBits
  const v3 = readVersion3(head, v2.version)
  if (v3.headerLength > clusterSize) throw invalid('qcow2 header exceeds cluster size')
  if (v2.backingFileOffset > clusterSize) throw invalid('Invalid backing file offset')

  const area = zeroExtended(bytes, clusterSize)
  const extensionsEnd = v2.backingFileOffset === 0 ? clusterSize : v2.backingFileOffset
  const compressionType = readCompressionType(area, v3)
  const unknown = v3.incompatible & ~KNOWN_INCOMPATIBLE
  if (unknown !== 0n) {
    const names = (await loadRare()).describeUnknown(unknown, area, v3.headerLength, extensionsEnd)
    throw new BlockError('ENOTSUP', `Unsupported qcow2 feature(s): ${names}`)
  }
  checkTables(v2, v3, checkMode)
  const context = { clusterSize, cryptMethod: v2.cryptMethod, autoclear: v3.autoclear }
  const extensions = await parseExtensions(area, v3.headerLength, extensionsEnd, context, loadRare)
  const backingFile = readBackingFile(area, v2, clusterSize)

  const { magic: _, backingFileSize: __, ...fields } = v2
  return {
    ...fields,
    ...v3,
    backingFileOffset: backingFile === undefined ? undefined : v2.backingFileOffset,
    backingFile,
    compressionType,
    unknownFields: area.slice(V3_LENGTH, Math.max(V3_LENGTH, v3.headerLength)),
    extensions,
  }
}
