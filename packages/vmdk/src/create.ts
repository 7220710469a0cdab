/** Creates images of every sub-format, byte for byte as QEMU does; streams have the form that other programs ask for. */
import {
  alignUp,
  BlockError,
  type BlockNode,
  bool,
  type CreateContext,
  type Creation,
  forgetContent,
  type OptionValues,
  SECTOR,
  size,
  text,
  viewOf,
} from '@vmblock/block-core/driver'
import { descriptorText, NO_PARENT } from './format/descriptor.ts'
import { FOOTER_BYTES, footerOf, Marker, metadataMarker } from './format/markers.ts'
import { AT_END, DEFLATE, Flag, HEADER, MAGIC, NEWLINES } from './format/sparse-header.ts'

/** With the texts of QEMU. */
// biome-ignore format: a table
const options = {
  size:         size('Virtual disk size'),
  adapter_type: text('Virtual adapter type, can be one of ide (default), lsilogic, buslogic or legacyESX'),
  backing_file: text('File name of a base image'),
  backing_fmt:  text("Must be 'vmdk' if present"),
  compat6:      bool('VMDK version 6 image', false),
  hwversion:    text('VMDK hardware version', 'undefined'),
  toolsversion: text('VMware guest tools version'),
  subformat:    text('VMDK flat extent format, can be one of {monolithicSparse (default) | monolithicFlat | twoGbMaxExtentSparse | twoGbMaxExtentFlat | streamOptimized} '),
  zeroed_grain: bool('Enable efficient zero writes using the zeroed-grain GTE feature', false),
}

type CreateOptions = OptionValues<typeof options>

const invalid = (message: string): BlockError => new BlockError('EINVAL', message)

const SUBFORMATS = [
  'monolithicSparse',
  'monolithicFlat',
  'twoGbMaxExtentSparse',
  'twoGbMaxExtentFlat',
  'streamOptimized',
] as const
const ADAPTERS = ['ide', 'buslogic', 'lsilogic', 'legacyESX'] as const

/** Bytes of an extent of a split image. */
const SPLIT = 2 ** 31
/** The most extents of a split image: 8 TiB. */
const MOST_EXTENTS = 4096
/** Where a sparse extent must end, in bytes: sectors have 32 bits. */
const REACH = 2 ** 32 * SECTOR
/** The largest flat disk, in bytes. */
const MOST_FLAT = 2 ** 46
/** Sectors of a grain, and of a grain table. */
const GRAIN = 128
const TABLE = 4
const ENTRIES = 512
/** Where the descriptor is in a sparse file, and how much room it has, in sectors. */
const DESCRIPTOR = { offset: 1, sectors: 20 } as const

/** What is to be made. */
interface Plan {
  /** Bytes of the disk. */
  readonly size: number
  readonly subformat: (typeof SUBFORMATS)[number]
  readonly adapterType: (typeof ADAPTERS)[number]
  readonly isFlat: boolean
  readonly isSplit: boolean
  readonly isStream: boolean
  /** Bytes of each extent beside the image's own file. */
  readonly extents: readonly number[]
}

/** A word, as QEMU reads it: case counts. @throws BlockError EINVAL in QEMU's words */
function oneOf<const W extends string>(words: readonly W[], given: string | undefined): W {
  if (given === undefined) return words[0]!
  const found = words.find((word) => word === given)
  if (found === undefined) throw invalid(`invalid parameter value: ${given}`)
  return found
}

/** @throws BlockError EINVAL, ENOTSUP in QEMU's words; EFBIG for a disk that its files could not hold */
function planOf(given: CreateOptions): Plan {
  const { backing_file, backing_fmt, compat6, hwversion, zeroed_grain } = given
  if (backing_fmt !== undefined && backing_fmt !== 'vmdk') throw invalid('backing_file must be a vmdk image')
  const adapterType = oneOf(ADAPTERS, given.adapter_type)
  const subformat = oneOf(SUBFORMATS, given.subformat)
  if (compat6 && hwversion !== 'undefined') throw invalid('compat6 cannot be enabled with hwversion set')
  for (const [key, value] of Object.entries({ hwversion, toolsversion: given.toolsversion, backing_file }))
    if (value !== undefined && /["\n\r\0]/.test(value))
      throw invalid(`The descriptor cannot hold the value of '${key}': it has a quote, or an end of line`)
  const isSplit = subformat.startsWith('twoGb')
  const isFlat = subformat.endsWith('Flat')
  if (isFlat && backing_file !== undefined)
    throw new BlockError('ENOTSUP', "Flat image can't have backing file")
  if (isFlat && zeroed_grain) throw new BlockError('ENOTSUP', "Flat image can't enable zeroed grain")
  const bytes = alignUp(given.size ?? 0, SECTOR)
  const most = isSplit ? SPLIT * MOST_EXTENTS : isFlat ? MOST_FLAT : REACH
  if (bytes > most || (!isSplit && !isFlat && layoutOf(bytes).grains * SECTOR + bytes > REACH))
    throw new BlockError('EFBIG', `A disk of ${bytes} bytes is too large for the sub-format ${subformat}`)
  const extents: number[] = []
  if (isSplit) for (let done = 0; done < bytes; done += SPLIT) extents.push(Math.min(SPLIT, bytes - done))
  else if (isFlat) extents.push(bytes)
  return {
    size: bytes,
    subformat,
    adapterType,
    isFlat,
    isSplit,
    isStream: subformat === 'streamOptimized',
    extents,
  }
}

/** Where things are in a sparse extent, in sectors. */
function layoutOf(bytes: number) {
  const tables = Math.ceil(Math.ceil(bytes / SECTOR / GRAIN) / ENTRIES)
  const directory = Math.ceil((tables * 4) / SECTOR)
  const redundant = DESCRIPTOR.offset + DESCRIPTOR.sectors
  const primary = redundant + directory + tables * TABLE
  return {
    tables,
    directory,
    redundant,
    primary,
    grains: alignUp(primary + directory + tables * TABLE, GRAIN),
  }
}

/** The directory, path and suffix of a file name, by QEMU's rules. */
function partsOf(filename: string): readonly [stem: string, suffix: string] {
  const name = baseName(filename)
  const dot = name.lastIndexOf('.')
  return dot < 0 ? [name, ''] : [name.slice(0, dot), name.slice(dot)]
}

function baseName(filename: string): string {
  // What says how a node is opened is no name, and would not fit between quotes.
  if (/^json:|["\n\r\0]/.test(filename)) return 'disk.vmdk'
  for (const separator of ['/', '\\', ':']) {
    const at = filename.lastIndexOf(separator)
    if (at >= 0) return filename.slice(at + 1)
  }
  return filename
}

/** The names of the extents beside the image's own file. */
function extentNames({ isFlat, isSplit, extents }: Plan, filename: string): string[] {
  const [stem, suffix] = partsOf(filename)
  if (!isSplit) return extents.map(() => `${stem}-flat${suffix}`)
  return extents.map((_, i) => `${stem}-${isFlat ? 'f' : 's'}${String(i + 1).padStart(3, '0')}${suffix}`)
}

/**
 * Formats the files. The image's own header, or its descriptor, is written last, so that an interrupted creation leaves no image.
 *
 * @throws BlockError in QEMU's words
 */
async function create(context: CreateContext<CreateOptions>): Promise<void> {
  const { file, options: given, further = [], filename = file.filename } = context
  const plan = planOf(given)
  const names = extentNames(plan, filename)
  if (further.length !== names.length)
    throw new BlockError(
      'ENOTSUP',
      `An image of the sub-format ${plan.subformat} needs ${names.length} further files, and ${further.length} were given`,
    )
  const parentCid = await parentCidOf(context)
  const type = plan.isFlat ? 'FLAT' : 'SPARSE'
  const own: readonly (readonly [string, number])[] =
    names.length > 0 || plan.isSplit
      ? names.map((name, i) => [name, plan.extents[i]!])
      : [[baseName(filename), plan.size]]
  const descriptor = new TextEncoder().encode(
    descriptorText({
      cid: Math.floor(Math.random() * (NO_PARENT - 1)) + 1,
      parentCid,
      createType: plan.subformat,
      parentName: given.backing_file,
      extents: own.map(([name, bytes]) => `RW ${bytes / SECTOR} ${type} "${name}"${plan.isFlat ? ' 0' : ''}`),
      hardwareVersion: given.compat6 ? '6' : given.hwversion === 'undefined' ? '4' : given.hwversion,
      adapterType: plan.adapterType,
      toolsVersion: given.toolsversion ?? '2147483647',
      size: plan.size,
    }),
  )
  const isInside = names.length === 0 && !plan.isSplit
  if (isInside && descriptor.length > DESCRIPTOR.sectors * SECTOR)
    throw invalid('The descriptor is too long: the names and versions do not fit')
  for (const [i, each] of further.entries()) {
    if (plan.isFlat) await fitFlat(each, plan.extents[i]!)
    else await makeSparse(each, plan.extents[i]!, given.zeroed_grain)
    await each.flush()
  }
  if (!isInside) {
    await file.truncate(0, { exact: true })
    await file.write(0, descriptor)
  } else if (plan.isStream) await makeStream(file, plan.size, descriptor)
  else await makeSparse(file, plan.size, given.zeroed_grain, descriptor)
  await file.flush()
}

/** @throws BlockError EINVAL for a parent of another format, or without a content id */
async function parentCidOf({ options, describeBacking }: CreateContext<CreateOptions>): Promise<number> {
  if (options.backing_file === undefined) return NO_PARENT
  if (!describeBacking) throw invalid('Failed to read parent CID')
  const { driver, info } = await describeBacking()
  if (driver !== 'vmdk') throw invalid(`Invalid backing file format: ${driver}. Must be vmdk`)
  const cid = info.formatSpecific?.data['cid']
  if (typeof cid !== 'number') throw invalid('Failed to read parent CID')
  return cid
}

/** A flat extent: as long as its part of the disk; a device stays as long as it is. */
async function fitFlat(file: BlockNode, bytes: number): Promise<void> {
  if (!file.growable) await forgetContent(file)
  await file.truncate(bytes, { exact: false })
}

/** The header of a sparse extent; see {@link layoutOf}. */
function headerOf(bytes: number, at: ReturnType<typeof layoutOf>, hasZeroGrains: boolean) {
  return {
    magic: MAGIC,
    version: hasZeroGrains ? 2 : 1,
    flags: Flag.newlines | Flag.redundant | (hasZeroGrains ? Flag.zeroGrains : 0),
    capacity: BigInt(bytes / SECTOR),
    grainSize: BigInt(GRAIN),
    descriptorOffset: BigInt(DESCRIPTOR.offset),
    descriptorSize: BigInt(DESCRIPTOR.sectors),
    tableEntries: ENTRIES,
    redundantDirectory: BigInt(at.redundant),
    directory: BigInt(at.primary),
    overhead: BigInt(at.grains),
    unclean: 0,
    newlines: NEWLINES,
    compression: 0,
  }
}

/** A sparse extent with all of its tables. */
async function makeSparse(
  file: BlockNode,
  bytes: number,
  hasZeroGrains: boolean,
  descriptor?: Uint8Array,
): Promise<void> {
  const at = layoutOf(bytes)
  // The length of the file tells where grains go, and its tables rely on zeroes.
  await file.truncate(0, { exact: true })
  await file.truncate(at.grains * SECTOR)
  for (const directory of [at.redundant, at.primary]) {
    const entries = new Uint8Array(at.directory * SECTOR)
    const view = viewOf(entries)
    for (let i = 0; i < at.tables; i++) view.setUint32(i * 4, directory + at.directory + i * TABLE, true)
    if (entries.length > 0) await file.write(directory * SECTOR, entries)
  }
  const head = new Uint8Array(DESCRIPTOR.offset * SECTOR + (descriptor?.length ?? 0))
  HEADER.write(head, headerOf(bytes, at, hasZeroGrains))
  if (descriptor) head.set(descriptor, DESCRIPTOR.offset * SECTOR)
  await file.flush()
  await file.write(0, head)
}

/**
 * An empty stream: header, descriptor, directory and footer. Unlike QEMU's, whose tables stand in front, it can be read from its start
 * to its end, as importers of appliances do.
 */
async function makeStream(file: BlockNode, bytes: number, descriptor: Uint8Array): Promise<void> {
  const tables = layoutOf(bytes).tables
  const directory = Math.ceil((tables * 4) / SECTOR)
  const sector = new Uint8Array(SECTOR)
  HEADER.write(sector, {
    ...headerOf(bytes, layoutOf(bytes), false),
    version: 3,
    flags: Flag.newlines | Flag.compressed | Flag.markers,
    redundantDirectory: 0n,
    directory: AT_END,
    overhead: BigInt(GRAIN),
    compression: DEFLATE,
  })
  const head = new Uint8Array((GRAIN + 1 + directory) * SECTOR)
  head.set(sector)
  head.set(descriptor, DESCRIPTOR.offset * SECTOR)
  head.set(metadataMarker(Marker.grainDirectory, directory), GRAIN * SECTOR)
  await file.truncate(0, { exact: true })
  await file.truncate(head.length + FOOTER_BYTES)
  await file.write(head.length, footerOf(sector, (GRAIN + 1) * SECTOR))
  await file.flush()
  await file.write(0, head.subarray(0, DESCRIPTOR.offset * SECTOR + descriptor.length))
  await file.write(GRAIN * SECTOR, head.subarray(GRAIN * SECTOR))
}

/** The making of VMDK images. */
export const vmdkCreation: Creation<typeof options> = {
  options,
  check: async (given) => void planOf(given),
  furtherFiles: (given, filename) => extentNames(planOf(given), filename),
  create,
}
