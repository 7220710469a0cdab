/** Changing creation options of an existing image. Words and rules of block/qcow2.c, qcow2_amend_options. */
import { alignUp, BlockError, bool, parseOptions, size as sizeOption, text } from '@vmblock/block-core'
import { discardClusters } from './discard.ts'
import { settleImage } from './flush.ts'
import { Compatible, Incompatible } from './format/features.ts'
import { MAX_BACKING_NAME } from './format/limits.ts'
import { SubclusterKind } from './format/subclusters.ts'
import type { Image } from './image.ts'
import { loadRun } from './lookup.ts'
import { truncate } from './resize.ts'
import { write } from './write.ts'

const amendable = {
  compat: text('Compatibility level'),
  size: sizeOption('Virtual disk size'),
  lazyRefcounts: bool('Postpone refcount updates'),
} as const

/** Option names that qemu-img knows for creation and that cannot be changed here. */
const fail = (image: Image, code: 'EINVAL' | 'ENOTSUP', message: string): BlockError =>
  new BlockError(code, message, { node: image.settings.nodeName })

/**
 * Applies `compat`, `lazy_refcounts` and `size`, in an order in which each step leaves a valid image. The
 * core has drained the node.
 *
 * @throws BlockError EINVAL, ENOTSUP
 */
export async function amend(
  image: Image,
  raw: Readonly<Record<string, unknown>>,
  progress: (done: number, total: number) => void = () => undefined,
): Promise<void> {
  const known: Record<string, unknown> = {}
  for (const [key, value] of Object.entries(raw))
    known[key.replace(/_(.)/g, (_, letter: string) => letter.toUpperCase())] = value
  const { compat, size, lazyRefcounts } = parseOptions(amendable, refuseOthers(image, known))
  const version = compat === undefined ? image.header.version : versionOf(image, compat)
  if (lazyRefcounts === true && version < 3)
    throw fail(
      image,
      'EINVAL',
      'Lazy refcounts only supported with compatibility level 1.1 and above (use compat=1.1 or greater)',
    )
  if (version > image.header.version) await upgrade(image)
  if (lazyRefcounts !== undefined) await setLazyRefcounts(image, lazyRefcounts)
  if (size !== undefined) await truncate(image, size, { exact: true })
  if (version < image.header.version) await downgrade(image)
  progress(1, 1)
}

function refuseOthers(image: Image, options: Record<string, unknown>): Record<string, unknown> {
  const { backingFile, backingFmt, ...rest } = options
  // Naming the backing file there is changes nothing; another is the business of a rebase.
  if (
    (backingFile !== undefined && backingFile !== (image.header.backingFile ?? '')) ||
    (backingFmt !== undefined && backingFmt !== (image.header.extensions.backingFormat ?? ''))
  )
    throw fail(image, 'EINVAL', 'Cannot amend the backing file')
  for (const key of Object.keys(rest)) {
    if (!(key in amendable))
      throw fail(
        image,
        'ENOTSUP',
        `Changing '${key.replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`)}' of an existing image is not supported`,
      )
  }
  return rest
}

function versionOf(image: Image, compat: string): number {
  if (compat === '0.10' || compat === 'v2') return 2
  if (compat === '1.1' || compat === 'v3') return 3
  throw fail(image, 'EINVAL', `Unknown compatibility level ${compat}`)
}

async function writeHeader(image: Image): Promise<void> {
  await image.writeHeader()
  await image.flushFile()
}

async function upgrade(image: Image): Promise<void> {
  if (image.header.nbSnapshots > 0)
    throw fail(image, 'ENOTSUP', 'Upgrading an image with internal snapshots is not supported yet')
  image.header.version = 3
  try {
    await writeHeader(image)
  } catch (error) {
    image.header.version = 2
    throw error
  }
}

/** Turning it off cleans first: nobody may find refcounts lagging in an image that does not say so. */
async function setLazyRefcounts(image: Image, on: boolean): Promise<void> {
  const { header } = image
  if (!on) {
    await settleImage(image)
    await image.markClean()
  }
  const before = header.compatible
  header.compatible = on ? before | Compatible.lazyRefcounts : before & ~Compatible.lazyRefcounts
  try {
    await writeHeader(image)
  } catch (error) {
    header.compatible = before
    throw error
  }
  image.settings.lazyRefcounts = on
}

async function downgrade(image: Image): Promise<void> {
  const { header } = image
  if (header.refcountOrder !== 4) throw fail(image, 'ENOTSUP', 'compat=0.10 requires refcount_bits=16')
  if (image.hasDataFile) throw fail(image, 'ENOTSUP', 'Cannot downgrade an image with a data file')
  if (header.nbSnapshots > 0) throw fail(image, 'ENOTSUP', 'Internal snapshots prevent downgrade of image')
  await settleImage(image)
  await image.markClean()
  if ((header.incompatible & ~Incompatible.compression) !== 0n)
    throw fail(
      image,
      'ENOTSUP',
      `Cannot downgrade an image with incompatible features 0x${header.incompatible.toString(16)} set`,
    )
  if (header.compressionType !== 'zlib')
    throw fail(image, 'ENOTSUP', 'Cannot downgrade an image with zstd compression type')
  await expandZeroes(image)
  await settleImage(image)
  const { compatible, autoclear } = header
  Object.assign(header, { version: 2, compatible: 0n, autoclear: 0n })
  try {
    await writeHeader(image)
  } catch (error) {
    Object.assign(header, { version: 3, compatible, autoclear })
    throw error
  }
  image.settings.lazyRefcounts = false
}

/** Version 2 has no zero flag: such clusters become data, or nothing where nothing reads as zero too. */
async function expandZeroes(image: Image): Promise<void> {
  const { clusterSize } = image.geometry
  for (let at = 0; at < image.size; ) {
    const run = await loadRun(image, at, image.size - at)
    const isZero = run.kind === SubclusterKind.zeroPlain || run.kind === SubclusterKind.zeroAlloc
    if (isZero && image.backing) {
      const bytes = Math.min(run.bytes, EXPAND_BYTES)
      await write(image, at, new Uint8Array(bytes))
      at += bytes
      continue
    }
    if (isZero)
      await discardClusters(image, at, alignUp(at + run.bytes, clusterSize), { full: true, reason: 'other' })
    at += run.bytes
  }
}

/** Zero clusters are written as data in pieces of this many bytes. */
const EXPAND_BYTES = 1024 * 1024

/** Rewrites what the header says of the backing file. @throws BlockError EINVAL, ENOSPC when it does not fit */
export async function changeBackingFile(
  image: Image,
  filename: string | null,
  format: string | undefined,
): Promise<void> {
  const { header } = image
  const before = { backingFile: header.backingFile, extensions: header.extensions }
  if (filename !== null && new TextEncoder().encode(filename).length > MAX_BACKING_NAME)
    throw fail(image, 'EINVAL', 'Backing file name too long')
  if (filename !== null && filename !== '' && image.isDataFileRaw)
    throw fail(image, 'EINVAL', 'A raw data file alone would no longer hold the disk with a backing file')
  const { backingFormat: _, ...extensions } = header.extensions
  header.backingFile = filename === null || filename === '' ? undefined : filename
  header.extensions =
    header.backingFile === undefined || format === undefined
      ? extensions
      : { ...extensions, backingFormat: format }
  try {
    await writeHeader(image)
  } catch (error) {
    Object.assign(header, before)
    throw error
  }
}
