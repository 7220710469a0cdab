/**
 * Changes creation options of an existing image. Messages and rules of block/qcow2.c, qcow2_amend_options.
 */
import {
  type AmendControl,
  alignUp,
  BlockError,
  type BlockErrorCode,
  flattenOptions,
  isBlockError,
  isPowerOfTwo,
  type JobControl,
  keyOfTable,
  type OptionValues,
  parseOptions,
} from '@vmblock/block-core/driver'
import { errorText } from '@vmblock/block-core/late'
import { Autoclear, Compatible, Incompatible } from '../format/features.ts'
import { MAX_BACKING_NAME } from '../format/limits.ts'
import { isComplete } from '../format/snapshot-layout.ts'
import { SubclusterKind } from '../format/subclusters.ts'
import { codecFor } from '../image/cluster-codec.ts'
import { hasBitmaps } from '../image/has-bitmaps.ts'
import type { Image } from '../image/image.ts'
import { loadRun } from '../mapping/lookup.ts'
import { discardClusters } from '../requests/discard.ts'
import { quiesceImage } from '../requests/flush.ts'
import { write } from '../requests/write.ts'
import { TableRanges, walkSnapshots } from '../snapshots/snapshots.ts'
import { rewriteSnapshots } from '../snapshots/snapshots-write.ts'
import { haveZeroClusters } from '../snapshots/zero-clusters.ts'
import { amendOptions } from './amend-options.ts'
import { AmendProgress } from './amend-progress.ts'
import { loadCompact } from './late-parts.ts'
import { truncate } from './resize.ts'

type Amendments = OptionValues<typeof amendOptions>

const fail = (image: Image, code: BlockErrorCode, message: string): BlockError =>
  new BlockError(code, message, { node: image.settings.nodeName })

/**
 * Applies the changes, in QEMU's order, in which each step leaves a valid image. The core has drained the node. Changes
 * of the version and of the width of refcounts report progress; the others take no time. A downgrade that is cancelled
 * leaves version 3, with the same content.
 *
 * @throws BlockError EINVAL, ENOTSUP
 */
export async function amend(
  image: Image,
  tree: Readonly<Record<string, unknown>>,
  control: AmendControl,
): Promise<void> {
  const raw = Object.fromEntries(flattenOptions(tree))
  for (const key of Object.keys(raw))
    if (keyOfTable(amendOptions, key) === undefined) throw unsupported(image, key)
  const given = parseOptions(amendOptions, raw)
  refuseOthers(image, given)
  const isAboutKeys = Object.entries(given).some(
    ([key, value]) => key.startsWith('encrypt.') && value !== undefined,
  )
  if (isAboutKeys && !image.encryption)
    throw fail(image, 'ENOTSUP', "Can't amend encryption options - encryption not present")
  const {
    compat,
    size,
    lazy_refcounts: lazyRefcounts,
    refcount_bits: bits = image.geometry.refcountBits,
  } = given
  const version = compat === undefined ? image.header.version : versionOf(image, compat)
  if (lazyRefcounts === true && version < 3)
    throw fail(
      image,
      'EINVAL',
      'Lazy refcounts only supported with compatibility level 1.1 and above (use compat=1.1 or greater)',
    )
  const changesWidth = bits !== image.geometry.refcountBits
  if (changesWidth && version < 3)
    throw fail(
      image,
      'EINVAL',
      'Refcount widths other than 16 bits require compatibility level 1.1 or above (use compat=1.1 or greater)',
    )
  const operations = (version === image.header.version ? 0 : 1) + (changesWidth ? 1 : 0)
  const progress = new AmendProgress(control, operations)
  if (version > image.header.version) await upgrade(image, progress.next())
  await control.checkpoint()
  if (changesWidth) await (await loadCompact()).changeRefcountWidth(image, Math.log2(bits), progress.next())
  await amendDataFile(image, given)
  await control.checkpoint()
  if (isAboutKeys) await image.encryption!.amend(given, control.force === true)
  if (lazyRefcounts !== undefined) await setLazyRefcounts(image, lazyRefcounts)
  // As the core does for a resize: data that the backing file holds beyond the old end must not appear.
  const zero = (image.backing?.size ?? 0) > image.size
  await control.checkpoint()
  if (size !== undefined) await truncate(image, size, { exact: true, zero })
  if (version < image.header.version) await downgrade(image, progress.next())
}

const unsupported = (image: Image, key: string): BlockError =>
  fail(image, 'ENOTSUP', `Changing '${key}' of an existing image is not supported`)

/**
 * Refuses options that cannot be changed, unless they name the present value.
 *
 * @throws BlockError EINVAL, ENOTSUP
 */
function refuseOthers(image: Image, given: Amendments): void {
  const { header } = image
  if (given.data_file !== undefined && !image.hasDataFile)
    throw fail(image, 'EINVAL', 'data-file can only be set for images that use an external data file')
  if (given.data_file_raw === true && !image.isDataFileRaw)
    throw fail(image, 'EINVAL', 'data-file-raw cannot be set on existing images')
  const { refcount_bits: refcountBits } = given
  if (refcountBits !== undefined && (refcountBits > 64 || !isPowerOfTwo(refcountBits)))
    throw fail(image, 'EINVAL', 'Refcount width must be a power of two and may not exceed 64 bits')
  // Naming the present backing file, with its format, changes nothing; another one requires a rebase.
  const { backing_file: backingFile, backing_fmt: backingFormat } = given
  const namesBacking = backingFile !== undefined || backingFormat !== undefined
  const isPresent = backingFile === header.backingFile && backingFormat === header.extensions.backingFormat
  if (namesBacking && !isPresent) throw fail(image, 'EINVAL', 'Cannot amend the backing file')
}

/** Changes the name of the data file in the header; an empty one removes it. And lets the file be no raw image any more. */
async function amendDataFile(
  image: Image,
  { data_file: name, data_file_raw: isRaw }: Amendments,
): Promise<void> {
  const { extensions, autoclear } = image.header
  const fields = {
    ...(name !== undefined && { extensions: { ...extensions, dataFile: name === '' ? undefined : name } }),
    ...(isRaw === false && image.isDataFileRaw && { autoclear: autoclear & ~Autoclear.dataFileRaw }),
  }
  if (Object.keys(fields).length > 0) await image.headerWriter.rewrite(fields)
}

function versionOf(image: Image, compat: string): number {
  if (compat === '0.10' || compat === 'v2') return 2
  if (compat === '1.1' || compat === 'v3') return 3
  throw fail(image, 'EINVAL', `Unknown compatibility level ${compat}`)
}

/** Steps of an upgrade, as QEMU counts them: the start, the snapshots, the header. */
const UPGRADE_STEPS = 2

async function upgrade(image: Image, control: JobControl): Promise<void> {
  control.report(0, UPGRADE_STEPS)
  await completeSnapshots(image)
  control.report(1, UPGRADE_STEPS)
  await control.checkpoint()
  await image.headerWriter.rewrite({ version: 3 })
  control.report(2, UPGRADE_STEPS)
}

/** Rewrites the snapshot table if its entries lack data that version 3 requires. */
async function completeSnapshots(image: Image): Promise<void> {
  const table = new TableRanges(image)
  let areComplete = true
  for await (const piece of walkSnapshots(image)) {
    table.add(piece)
    areComplete &&= piece.snapshots.every(isComplete)
  }
  if (!areComplete) await image.lock.run(() => rewriteSnapshots(image, table.all))
}

/**
 * Switches lazy refcounts. Off: the image is cleaned first, so that no program finds lagging refcounts
 * without the dirty bit.
 */
async function setLazyRefcounts(image: Image, on: boolean): Promise<void> {
  const { compatible } = image.header
  if (!on) {
    await quiesceImage(image)
    await image.dirtyBit.clear()
  }
  await image.headerWriter.rewrite({
    compatible: on ? compatible | Compatible.lazyRefcounts : compatible & ~Compatible.lazyRefcounts,
  })
  image.settings.lazyRefcounts = on
}

async function downgrade(image: Image, control: JobControl): Promise<void> {
  const { header } = image
  if (header.refcountOrder !== 4) throw fail(image, 'ENOTSUP', 'compat=0.10 requires refcount_bits=16')
  if (image.hasDataFile) throw fail(image, 'ENOTSUP', 'Cannot downgrade an image with a data file')
  if (!(await canAllHaveVersion2(image)))
    throw fail(image, 'ENOTSUP', 'Internal snapshots prevent downgrade of image')
  await quiesceImage(image)
  if (header.nbSnapshots > 0 && (await haveZeroClusters(image)))
    throw fail(image, 'ENOTSUP', 'Internal snapshots with zero clusters prevent downgrade of image')
  await image.dirtyBit.clear()
  // Allocations on the way must not set the dirty bit again: version 2 has none, and it could not be cleared.
  const { lazyRefcounts } = image.settings
  image.settings.lazyRefcounts = false
  try {
    await becomeVersion2(image, control)
  } catch (error) {
    image.settings.lazyRefcounts = lazyRefcounts
    throw error
  }
}

/** Whether readers of version 2 understand all snapshots: they know of no disk sizes, nor of sizes beyond 32 bits. */
async function canAllHaveVersion2(image: Image): Promise<boolean> {
  for await (const { snapshots } of walkSnapshots(image))
    for (const { diskSize, vmStateSize } of snapshots)
      if (vmStateSize > 0xffff_ffffn || (diskSize ?? BigInt(image.size)) !== BigInt(image.size)) return false
  return true
}

async function becomeVersion2(image: Image, control: JobControl): Promise<void> {
  const { header } = image
  // Another compression is no obstacle as long as no cluster has it.
  const obstacles = header.incompatible & ~Incompatible.compression
  if (obstacles !== 0n)
    throw fail(
      image,
      'ENOTSUP',
      `Cannot downgrade an image with incompatible features 0x${obstacles.toString(16)} set`,
    )
  if (hasBitmaps(image)) throw fail(image, 'ENOTSUP', 'Cannot downgrade an image with bitmaps')
  const wasZstd = header.compressionType !== 'zlib'
  if (wasZstd && (await hasCompressed(image)))
    throw fail(
      image,
      'ENOTSUP',
      'Cannot downgrade an image with zstd compression type and existing compressed clusters',
    )
  await expandZeroes(image, control).catch((error: unknown) => {
    const code = isBlockError(error) ? error.code : 'EIO'
    throw fail(image, code, `Failed to turn zero into data clusters: ${errorText(error)}`)
  })
  await quiesceImage(image)
  await image.headerWriter.rewrite({
    version: 2,
    incompatible: 0n,
    compatible: 0n,
    autoclear: 0n,
    compressionType: 'zlib',
  })
  if (wasZstd) image.codec = codecFor('zlib', {})
}

/** Whether any cluster of the disk is compressed. */
async function hasCompressed(image: Image): Promise<boolean> {
  for (let at = 0; at < image.size; ) {
    const { kind, bytes } = await loadRun(image, at, image.size - at)
    if (kind === SubclusterKind.compressed) return true
    at += bytes
  }
  return false
}

/**
 * Version 2 has no zero flag. Zero clusters become data, those that have a place in the file in that place; the others are
 * unallocated if these read as zeroes, too.
 */
async function expandZeroes(image: Image, control: JobControl): Promise<void> {
  const { clusterSize, l2Coverage } = image.geometry
  const tables = Math.ceil(image.size / l2Coverage)
  let told = 0
  for (let at = 0; at < image.size; ) {
    for (; told < Math.floor(at / l2Coverage); told++) control.report(told + 1, tables)
    const held = control.checkpoint()
    if (held) await held
    const run = await loadRun(image, at, image.size - at)
    const isPlain = run.kind === SubclusterKind.zeroPlain
    if (run.kind === SubclusterKind.zeroAlloc || (isPlain && image.backing)) {
      const bytes = Math.min(run.bytes, EXPAND_BYTES)
      await write(image, at, new Uint8Array(bytes))
      at += bytes
      continue
    }
    if (isPlain)
      await discardClusters(image, at, alignUp(at + run.bytes, clusterSize), { full: true, reason: 'other' })
    at += run.bytes
  }
  for (; told < tables; told++) control.report(told + 1, tables)
}

/** Zero clusters are written as data in pieces of this many bytes. */
const EXPAND_BYTES = 1024 * 1024

/**
 * Rewrites the backing file's name and format in the header.
 *
 * @throws BlockError EINVAL; ENOSPC if it does not fit
 */
export async function changeBackingFile(
  image: Image,
  filename: string | null,
  format: string | undefined,
): Promise<void> {
  const { header } = image
  if (filename !== null && new TextEncoder().encode(filename).length > MAX_BACKING_NAME)
    throw fail(image, 'EINVAL', 'Backing file name too long')
  if (filename !== null && filename !== '' && image.isDataFileRaw)
    throw fail(image, 'EINVAL', 'A raw data file alone would no longer hold the disk with a backing file')
  const { backingFormat: _, ...extensions } = header.extensions
  const backingFile = filename === null || filename === '' ? undefined : filename
  const hasFormat = backingFile !== undefined && format !== undefined
  await image.headerWriter.rewrite({
    backingFile,
    extensions: hasFormat ? { ...extensions, backingFormat: format } : extensions,
  })
}
