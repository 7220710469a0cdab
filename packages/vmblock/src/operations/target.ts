/** Where an image is made, and how it is made there: what creating and converting share. */
import {
  type AnyDriver,
  BlockError,
  type BlockNode,
  type CreatedFile,
  createImage,
  isBlockNode,
  type NodeOptions,
  type OpenEnvironment,
  skipFilters,
} from '@vmblock/block-core'
import { isPlain, wholeDriver } from '@vmblock/block-core/driver'
import {
  fileOfTarget,
  type ImageSource,
  type OverlaySource,
  type PreparedSource,
  type SourceSettings,
} from '@vmblock/sources'
import type { Platform } from '../platform/platform.ts'
import { closeOwn, type OpenedNode, openNodeOf, openOriginal, optionsOf, requireDriver } from './opened.ts'

/** Formats by the end of a file name. */
const EXTENSIONS: Readonly<Record<string, string>> = {
  qcow2: 'qcow2',
  qed: 'qed',
  img: 'raw',
  raw: 'raw',
  vhdx: 'vhdx',
  vdi: 'vdi',
}

/** How an image is made. */
export interface ImagePlan {
  readonly format: string | undefined
  readonly backing: unknown
  readonly backingFormat: string | undefined
  readonly dataFile: unknown
  readonly overwrite: boolean | undefined
  /** Creation options, which the driver checks. */
  readonly creation: NodeOptions
  /** Options that name the keys with which the image, and its backing file, are opened. */
  readonly keys: NodeOptions
  readonly backingKeys: NodeOptions
  /** Its data will be written compressed. */
  readonly compress?: boolean
}

/** A new image. */
export interface MadeImage {
  /** Takes the image back. */
  readonly created: CreatedFile
  readonly environment: OpenEnvironment
  /** The options of its node. */
  readonly image: NodeOptions
  /** Its backing file, which is to be closed if it was opened for it. */
  readonly backing: OpenedNode | undefined
}

/** A file for an image. */
interface TargetFile extends PreparedSource {
  /** An open node, or the options of one. */
  readonly file: BlockNode | NodeOptions
  /** Its name; undefined or empty for what has none. */
  readonly name: string | undefined
}

/** @throws BlockError EINVAL for what is no target; EACCES, ENOTSUP for what cannot be written, or not on this platform */
async function targetFile(
  { prepareSource }: Platform,
  settings: SourceSettings,
  target: unknown,
  what: string,
): Promise<TargetFile> {
  const prepared = await prepareSource(optionsOf(target) ?? target, settings)
  const { source, kit } = prepared
  if (isPlain(source) && 'driver' in source) {
    const { filename } = source as NodeOptions
    return { ...prepared, file: source, name: typeof filename === 'string' ? filename : undefined }
  }
  const { bytes, name } = fileOfTarget(kit, source, what)
  return { ...prepared, file: bytes, name }
}

/** @throws BlockError EINVAL if the name says no format */
function formatOf(name: string | undefined): string {
  const extension = /\.([^./\\]+)$/.exec(name ?? '')?.[1]?.toLowerCase() ?? ''
  const format = Object.hasOwn(EXTENSIONS, extension) ? EXTENSIONS[extension] : undefined
  if (format !== undefined) return format
  const known = Object.keys(EXTENSIONS).map((each) => `.${each}`)
  const why = name ? `'${name}' does not end in ${known.join(', ')}` : 'the target has no name'
  throw new BlockError('EINVAL', `Parameter 'format' is missing, and ${why}`)
}

/**
 * Makes an image, and opens its backing file, if it has one, only for reading.
 *
 * @param size of the disk in bytes, unless the options or the backing file say another
 * @throws BlockError as `create` of the entries; then nothing is left behind
 */
export async function makeImage(
  platform: Platform,
  settings: SourceSettings,
  where: unknown,
  plan: ImagePlan,
  size?: number,
): Promise<MadeImage> {
  const { format: wanted, backing: below, backingFormat, dataFile: data, overwrite = false, creation } = plan
  if (backingFormat !== undefined && below === undefined)
    throw new BlockError('EINVAL', "Parameter 'backingFormat' is given without 'backing'")
  const target = await targetFile(platform, settings, where, 'target')
  const dataFile = data === undefined ? undefined : await targetFile(platform, settings, data, 'dataFile')
  const format = wanted ?? formatOf(target.name)
  requireDriver(target.kit.environment, format, 'format')
  const driver = await wholeDriver(target.kit.environment.registry.get(format))
  if (below !== undefined && !('backing' in (driver.children ?? {})))
    throw new BlockError('EINVAL', `Parameter 'backing' is given, and ${format} images have no backing file`)
  if (plan.compress) requireCompressible(driver, plan)
  const opening = {
    settings,
    what: 'backing',
    format: backingFormat,
    keys: plan.backingKeys,
    ...(!openNodeOf(below) && { readOnly: true }),
  }
  const backing = below === undefined ? undefined : await openOriginal(platform, below, opening)
  const files = { driver: format, file: target.file, ...(dataFile && { dataFile: dataFile.file }) }
  const { environment } = target.kit
  try {
    const created = await createImage(environment, {
      ...(size !== undefined && { size }),
      ...creation,
      ...(backing && (await named(platform, settings, target, below, backing.node))),
      ...files,
      overwrite,
    })
    const image = { ...files, discard: 'unmap', ...plan.keys, ...(backing && { backing: backing.node }) }
    return { created, environment, image, backing }
  } catch (error) {
    await closeOwn(backing)
    throw error
  }
}

/** @throws BlockError EINVAL for an image that cannot be written compressed */
function requireCompressible({ name, canCompress }: AnyDriver, { dataFile, creation }: ImagePlan): void {
  const { preallocation = 'off' } = creation
  const why = !canCompress
    ? `${name} images have no compressed data`
    : dataFile !== undefined
      ? 'data in a data file is not compressed'
      : preallocation !== 'off' &&
        `preallocation is '${preallocation}', and compressed data takes its own room`
  if (why) throw new BlockError('EINVAL', `Parameter 'compress' is given, and ${why}`)
}

/** The options for a backing file, with its name in the header. @throws BlockError ENOTSUP if it cannot have one */
async function named(
  { prepareSource }: Platform,
  settings: SourceSettings,
  target: TargetFile,
  below: unknown,
  node: BlockNode,
): Promise<NodeOptions> {
  const { file, driver } = skipFilters(node)
  // A disk that is open already was opened from a path, perhaps.
  const path = openNodeOf(below) && file?.node.driver.takesPaths ? { file: file.filename } : below
  const { source } = await prepareSource(path, settings)
  const isImage = !isBlockNode(source) && isPlain(source) && !('driver' in source) && !('overlay' in source)
  const base = isImage ? target.kit.fileOf(source as unknown as ImageSource) : undefined
  const name = base?.nameFrom?.(target.source as OverlaySource['overlay'])
  if (name !== undefined) return { backing: node, backingFile: name, backingFmt: driver.name }
  throw new BlockError(
    'ENOTSUP',
    'the image cannot name this backing file: give both when you open it, as { overlay, base }',
  )
}
