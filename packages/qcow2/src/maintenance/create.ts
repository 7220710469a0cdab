/** Formats an empty file as a qcow2 image. */
import {
  BlockError,
  type BlockNode,
  type CreateContext,
  type Creation,
  forgetContent,
  messageOf,
  viewOf,
} from '@vmblock/block-core/driver'
import { errorText, strerror } from '@vmblock/block-core/late'
import type { NewEncryption } from '../encryption/encryption.ts'
import { noExtensions } from '../format/extensions.ts'
import { Autoclear, Compatible, Incompatible } from '../format/features.ts'
import { type Geometry, l1EntriesFor } from '../format/geometry.ts'
import type { Header } from '../format/header.ts'
import { V2_LENGTH, V3_LENGTH } from '../format/header-layout.ts'
import { entryHi, entryLo, setRefblockOffset, ZERO_LO } from '../format/l2-entry.ts'
import { MAX_BACKING_NAME, MAX_L1_BYTES, MAX_REFCOUNT_TABLE_BYTES } from '../format/limits.ts'
import { refcountAccess } from '../format/refcount-width.ts'
import { serializeHeader } from '../format/serialize-header.ts'
import { type CreateOptions, type CreateOptionValues, createOptions } from './create-options.ts'
import { type CreateSettings, settingsOf } from './create-settings.ts'
import { loadEncryption } from './late-parts.ts'
import { measure } from './measure.ts'

/** Tables are built and written in pieces of at most this many bytes. */
const PIECE = 2 ** 20

/**
 * The layout of a new image. There are no holes: clusters follow one another in the order of the fields, and
 * each L2 table is followed by the data clusters that it points at.
 */
interface Plan {
  readonly geometry: Geometry
  /** Entries of the L1 table. */
  readonly l1Size: number
  readonly refcountTableClusters: number
  readonly refblocks: number
  readonly l1Clusters: number
  /** L2 tables; none without preallocation. */
  readonly l2Tables: number
  /** Guest clusters that are mapped. */
  readonly mapped: number
  /** Mapped clusters that are in this file: all, or none with an external data file. */
  readonly dataClusters: number
  /** Clusters of the LUKS header and its key slots: the last ones. */
  readonly luksClusters: number
  /** All clusters; each has refcount 1. */
  readonly total: number
}

const tooLarge = (): BlockError =>
  new BlockError(
    'EFBIG',
    "The image size is too large for file format 'qcow2' (try using a larger cluster size)",
  )

/**
 * Counts the clusters of an image. Refcount blocks count themselves and their table, so the counts grow until
 * they fit.
 *
 * @throws BlockError EFBIG if a table would exceed its limit
 */
function planOf(
  { geometry, size, preallocation, hasDataFile }: CreateSettings,
  encryption: NewEncryption | undefined,
): Plan {
  const { clusterSize, refblockEntries, l2Entries } = geometry
  const l1Size = l1EntriesFor(geometry, size)
  if (l1Size * 8 > MAX_L1_BYTES) throw tooLarge()
  const l1Clusters = Math.ceil((l1Size * 8) / clusterSize)
  const mapped = preallocation === 'off' ? 0 : Math.ceil(size / clusterSize)
  const l2Tables = Math.ceil(mapped / l2Entries)
  const dataClusters = hasDataFile ? 0 : mapped

  const luksClusters = Math.ceil((encryption?.areaBytes ?? 0) / clusterSize)
  const counted = 1 + l1Clusters + l2Tables + dataClusters + luksClusters
  let refcountTableClusters = 1
  let refblocks = 1
  for (;;) {
    const total = counted + refcountTableClusters + refblocks
    const blocks = Math.ceil(total / refblockEntries)
    const tables = Math.ceil((blocks * 8) / clusterSize)
    if (blocks <= refblocks && tables <= refcountTableClusters) {
      if (refcountTableClusters * clusterSize > MAX_REFCOUNT_TABLE_BYTES) throw tooLarge()
      if (total * clusterSize > Number.MAX_SAFE_INTEGER) throw tooLarge()
      return {
        geometry,
        l1Size,
        refcountTableClusters,
        refblocks,
        l1Clusters,
        l2Tables,
        mapped,
        dataClusters,
        luksClusters,
        total,
      }
    }
    refblocks = Math.max(blocks, refblocks)
    refcountTableClusters = Math.max(tables, refcountTableClusters)
  }
}

/** Bytes from the start of the file. */
const refblocksAt = (plan: Plan): number => (1 + plan.refcountTableClusters) * plan.geometry.clusterSize
const l1At = (plan: Plan): number => refblocksAt(plan) + plan.refblocks * plan.geometry.clusterSize
function l2TableAt(plan: Plan, index: number): number {
  const { clusterSize, l2Entries } = plan.geometry
  const stride = plan.dataClusters === 0 ? 1 : 1 + l2Entries
  return l1At(plan) + (plan.l1Clusters + index * stride) * clusterSize
}

/** Where the LUKS header is, in bytes. */
const luksAt = (plan: Plan): number => (plan.total - plan.luksClusters) * plan.geometry.clusterSize

/** Writes 64-bit entries, `stride` bytes apart, each of which holds the offset `entryAt(index)` in bytes. */
async function writeTable(
  file: BlockNode,
  at: number,
  count: number,
  stride: number,
  copied: boolean,
  entryAt: (index: number) => number,
): Promise<void> {
  const perPiece = Math.min(count, PIECE / stride)
  const bytes = new Uint8Array(perPiece * stride)
  const view = viewOf(bytes)
  for (let first = 0; first < count; first += perPiece) {
    const entries = Math.min(perPiece, count - first)
    for (let i = 0; i < entries; i++) {
      const offset = entryAt(first + i)
      view.setUint32(i * stride, entryHi(offset, copied))
      view.setUint32(i * stride + 4, entryLo(offset))
    }
    await file.write(at + first * stride, bytes.subarray(0, entries * stride))
  }
}

/** Writes the refcount table, and blocks that count 1 for every cluster of the plan. */
async function writeRefcounts(file: BlockNode, plan: Plan): Promise<void> {
  const { clusterSize, refcountOrder, refblockEntries } = plan.geometry
  const { refblocks, refcountTableClusters, total } = plan
  const table = new Uint8Array(refcountTableClusters * clusterSize)
  const view = viewOf(table)
  for (let i = 0; i < refblocks; i++) setRefblockOffset(view, i, refblocksAt(plan) + i * clusterSize)
  await file.write(clusterSize, table)

  const { set } = refcountAccess(refcountOrder)
  const perPiece = Math.max(1, PIECE / clusterSize)
  const piece = new Uint8Array(Math.min(perPiece, refblocks) * clusterSize)
  // Most new images have few clusters: a loop over all entries of a block would be most of the work.
  for (let i = 0; i < Math.min(perPiece * refblockEntries, total); i++) set(piece, i, 1)
  for (let first = 0; first < refblocks; first += perPiece) {
    const blocks = Math.min(perPiece, refblocks - first)
    const used = total - first * refblockEntries
    if (first > 0) for (let i = used; i < blocks * refblockEntries; i++) set(piece, i, 0)
    await file.write(refblocksAt(plan) + first * clusterSize, piece.subarray(0, blocks * clusterSize))
  }
}

/** Writes the L1 table, and L2 tables that map guest clusters in order. */
async function writeMapping(file: BlockNode, plan: Plan, isEncrypted: boolean): Promise<void> {
  const { l1Size, l2Tables, mapped } = plan
  const { clusterSize, l2Entries, l2EntrySize } = plan.geometry
  if (l2Tables === 0) {
    const zeroes = new Uint8Array(Math.min(PIECE, l1Size * 8))
    for (let at = 0; at < l1Size * 8; at += PIECE)
      await file.write(l1At(plan) + at, zeroes.subarray(0, Math.min(PIECE, l1Size * 8 - at)))
    return
  }
  await writeTable(file, l1At(plan), l1Size, 8, true, (index) => l2TableAt(plan, index))
  // The last table may be used in part, but is a whole cluster.
  const bytes = new Uint8Array(clusterSize)
  const view = viewOf(bytes)
  for (let table = 0; table < l2Tables; table++) {
    const at = l2TableAt(plan, table)
    const entries = Math.min(l2Entries, mapped - table * l2Entries)
    bytes.fill(0)
    for (let i = 0; i < entries; i++) {
      const offset =
        plan.dataClusters === 0 ? (table * l2Entries + i) * clusterSize : at + (1 + i) * clusterSize
      view.setUint32(i * l2EntrySize, entryHi(offset, true))
      // What was never written decrypts to noise.
      const flags = isEncrypted && plan.geometry.subclusters === 1 ? ZERO_LO : 0
      view.setUint32(i * l2EntrySize + 4, (entryLo(offset) | flags) >>> 0)
    }
    await file.write(at, bytes)
  }
}

function headerOf(settings: CreateSettings, plan: Plan, encryption: NewEncryption | undefined): Header {
  const { version, size, geometry, hasDataFile } = settings
  return {
    version,
    backingFile: settings.backingFile,
    clusterBits: geometry.clusterBits,
    size,
    cryptMethod: encryption?.method ?? 0,
    l1Size: plan.l1Size,
    l1TableOffset: plan.l1Size === 0 ? 0 : l1At(plan),
    refcountTableOffset: geometry.clusterSize,
    refcountTableClusters: plan.refcountTableClusters,
    nbSnapshots: 0,
    snapshotsOffset: 0,
    incompatible:
      (hasDataFile ? Incompatible.dataFile : 0n) |
      (settings.compressionType === 'zlib' ? 0n : Incompatible.compression) |
      (settings.extendedL2 ? Incompatible.extendedL2 : 0n),
    compatible: settings.lazyRefcounts ? Compatible.lazyRefcounts : 0n,
    autoclear: settings.dataFileRaw ? Autoclear.dataFileRaw : 0n,
    refcountOrder: geometry.refcountOrder,
    headerLength: version === 2 ? V2_LENGTH : V3_LENGTH,
    compressionType: settings.compressionType,
    unknownFields: new Uint8Array(0),
    extensions: {
      ...noExtensions(),
      backingFormat: settings.backingFormat,
      dataFile: settings.dataFileName,
      ...(plan.luksClusters > 0 && {
        luksHeader: { offset: luksAt(plan), length: encryption!.areaBytes },
      }),
    },
  }
}

/** The header as bytes. If it does not fit, the error names the name that made it too long, as in QEMU. */
function headerBytes(
  settings: CreateSettings,
  plan: Plan,
  encryption: NewEncryption | undefined,
): Uint8Array {
  const header = headerOf(settings, plan, encryption)
  const { clusterSize } = plan.geometry
  const blame = (what: string, error: unknown): BlockError => {
    const code = error instanceof BlockError ? error.code : 'EINVAL'
    return new BlockError(code, `${what}: ${errorText(error)}`, { cause: error })
  }
  try {
    const bare = { ...header.extensions, backingFormat: undefined }
    serializeHeader({ ...header, backingFile: undefined, extensions: bare }, clusterSize)
  } catch (error) {
    throw blame('Could not update qcow2 header', error)
  }
  const { backingFile, backingFormat } = settings
  const what = `Could not assign backing file '${backingFile}' with format '${backingFormat ?? '(null)'}'`
  try {
    const bytes = serializeHeader(header, clusterSize)
    if (backingFile !== undefined && new TextEncoder().encode(backingFile).length > MAX_BACKING_NAME)
      throw new BlockError('EINVAL', 'The name of the backing file is too long')
    return bytes
  } catch (error) {
    throw blame(what, error)
  }
}

/** Sets the sizes of the files, and allocates their storage if that was requested. */
async function sizeFiles(
  { file, dataFile }: Pick<CreateContext<unknown>, 'file' | 'dataFile'>,
  { preallocation, size, keepsDataFile }: CreateSettings,
  plan: Plan,
): Promise<void> {
  const storage = preallocation === 'metadata' ? 'off' : preallocation
  const resize = async (node: BlockNode, bytes: number): Promise<void> => {
    try {
      await node.truncate(bytes, { preallocation: storage })
    } catch (error) {
      const code = error instanceof BlockError ? error.code : 'EIO'
      const what = 'Could not resize image: Failed to resize underlying file'
      throw new BlockError(code, `${what}: ${messageOf(error)}`, { cause: error })
    }
  }
  if (dataFile && !(keepsDataFile && dataFile.size >= size)) await resize(dataFile, size)
  const end = plan.total * plan.geometry.clusterSize
  if (plan.dataClusters > 0) await resize(file, end)
  // Checked before any old content is lost.
  if (!file.growable && end > file.size) throw new BlockError('ENOSPC', strerror('ENOSPC'))
  await forgetContent(file)
  if (plan.dataClusters === 0) return
  // A guest must not see what a device held before in clusters that it never wrote.
  if (!file.growable) await file.writeZeroes(0, end, { mayUnmap: true })
}

/** @throws BlockError EINVAL, ENOTSUP; EIO if code cannot be loaded */
async function encryptionOf(
  options: CreateOptionValues,
  { version, preallocation }: CreateSettings,
): Promise<NewEncryption | undefined> {
  const asks = Object.entries(options).some(
    ([key, value]) => key.startsWith('encrypt') && value !== undefined && value !== false,
  )
  const encryption = asks ? (await loadEncryption()).planEncryption(options) : undefined
  // Zero flags say that what was never written reads as zeroes.
  if (encryption && version < 3 && preallocation !== 'off')
    throw new BlockError(
      'ENOTSUP',
      'Preallocation of encrypted images is only supported with compatibility level 1.1 and above (use version=v3 or greater)',
    )
  return encryption
}

const noSecrets = (id: string): Promise<never> =>
  Promise.reject(new BlockError('EINVAL', `No secret with id '${id}'`))

/** Checks options of `create` without a file. @throws BlockError as {@link create} does for them */
async function check(options: CreateOptionValues): Promise<void> {
  const settings = settingsOf({ options })
  const encryption = await encryptionOf(options, settings)
  headerBytes(settings, planOf(settings, encryption), encryption)
}

/**
 * Formats `file`, and gives `dataFile` its size; one that keeps its content only grows.
 *
 * Layout: header, refcount table, refcount blocks, L1 table, then L2 tables and data if they are
 * preallocated; an image without preallocation is byte for byte what QEMU 7.2 makes. The header comes last,
 * so that an interrupted creation leaves no image.
 *
 * @throws BlockError EINVAL for contradictory options; EFBIG if too large; ENOSPC if names are too long for
 *   the header
 */
async function create(context: CreateContext<CreateOptionValues>): Promise<void> {
  const { file, dataFile } = context
  const settings = settingsOf(context)
  if (settings.hasDataFile && !dataFile)
    throw new BlockError('EINVAL', 'An external data file must be open before the image is made')
  const encryption = await encryptionOf(context.options, settings)
  const secret = context.secret ?? noSecrets
  await encryption?.requireSecret(secret)
  const plan = planOf(settings, encryption)
  const header = headerBytes(settings, plan, encryption)
  // Old content must not appear in preallocated clusters. Devices keep their length: see below.
  for (const node of settings.keepsDataFile ? [file] : [file, dataFile])
    if (node?.growable && node.size > 0) await node.truncate(0)
  await sizeFiles(context, settings, plan)
  await writeRefcounts(file, plan)
  await writeMapping(file, plan, encryption !== undefined)
  if (plan.luksClusters > 0) {
    await file.writeZeroes(luksAt(plan), plan.luksClusters * plan.geometry.clusterSize)
    await encryption!.writeArea(file, luksAt(plan), secret)
  }
  await file.write(0, header)
  if (dataFile) await dataFile.flush()
  await file.flush()
}

/** The making of qcow2 images. */
export const creation: Creation<CreateOptions> = { options: createOptions, check, measure, create }
