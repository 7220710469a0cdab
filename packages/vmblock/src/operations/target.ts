/** Where an image is made, and how it is made there: what creating and converting share. */
import {
  BlockError,
  type BlockNode,
  type CreatedFile,
  createImage,
  isBlockNode,
  type NodeOptions,
  type OpenEnvironment,
  skipFilters,
} from '@vmblock/block-core'
import { isPlain, wrongValue } from '@vmblock/block-core/driver'
import { type ImageSource, type OverlaySource, requireSource } from '@vmblock/sources'
import type { Platform } from '../platform/platform.ts'
import { type OpenedNode, openOriginal } from './opened.ts'

/** Formats by the end of a file name. */
const EXTENSIONS: Readonly<Record<string, string>> = { qcow2: 'qcow2', qed: 'qed', img: 'raw', raw: 'raw' }

/** A file for an image. */
export interface TargetFile {
  /** An open node, or the options of one. */
  readonly file: BlockNode | NodeOptions
  /** Its name; undefined for what has none. */
  readonly name: string | undefined
  /** Where it is, as a source says it; undefined for what is no source. */
  readonly source: ImageSource | undefined
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
}

/** A new image. */
export interface MadeImage {
  /** Takes the image back. */
  readonly created: CreatedFile
  readonly format: string
  /** Its data file, if it is apart. */
  readonly dataFile: TargetFile | undefined
  /** Its backing file, which is to be closed if it was opened for it. */
  readonly backing: OpenedNode | undefined
}

/** @throws BlockError EINVAL for what is no target; ENOTSUP for what cannot be written, or not on this platform */
export async function targetFile(
  platform: Platform,
  environment: OpenEnvironment,
  target: unknown,
): Promise<TargetFile> {
  if (isBlockNode(target)) return { file: target, name: target.filename || undefined, source: undefined }
  const held = await platform.handleOf(target)
  if (held && !held.readOnly) return { file: held.bytes, name: undefined, source: undefined }
  const plain = platform.writeOut(target)
  if (!isPlain(plain)) throw notATarget(target)
  if ('driver' in plain) {
    const { filename } = plain
    return { file: plain, name: typeof filename === 'string' ? filename : undefined, source: undefined }
  }
  requireSource(plain, 'target')
  if ('overlay' in plain || 'memory' in plain) throw notATarget(target)
  const source = plain as unknown as ImageSource
  const { bytes, create } = platform.fileOf(environment, source)
  if (!create) throw new BlockError('ENOTSUP', 'no image can be made there: it can only be read')
  const { file, opfs, indexeddb } = plain as Readonly<Record<string, unknown>>
  return { file: bytes, name: String(file ?? opfs ?? indexeddb), source }
}

const notATarget = (value: unknown): BlockError =>
  wrongValue(
    'target',
    'where a file can be made: a path, { file }, { opfs }, { indexeddb }, or an open node',
    value,
  )

/** @throws BlockError EINVAL if the name says no format */
function formatOf(name: string | undefined): string {
  const extension = /\.([^./\\]+)$/.exec(name ?? '')?.[1]?.toLowerCase() ?? ''
  const format = Object.hasOwn(EXTENSIONS, extension) ? EXTENSIONS[extension] : undefined
  if (format !== undefined) return format
  const known = Object.keys(EXTENSIONS).map((each) => `.${each}`)
  throw new BlockError(
    'EINVAL',
    `Parameter 'format' is missing: ${name === undefined ? 'the target has no name' : `'${name}' does not end in ${known.join(', ')}`}`,
  )
}

/**
 * Makes an image, and opens its backing file, if it has one, only for reading.
 *
 * @param size of the disk in bytes, unless the options or the backing file say another
 * @throws BlockError as `create` of the entries; then nothing is left behind
 */
export async function makeImage(
  platform: Platform,
  environment: OpenEnvironment,
  target: TargetFile,
  {
    format = formatOf(target.name),
    backing: below,
    backingFormat,
    dataFile: data,
    overwrite = false,
    creation,
  }: ImagePlan,
  size?: number,
): Promise<MadeImage> {
  if (backingFormat !== undefined && below === undefined)
    throw new BlockError('EINVAL', "Parameter 'backingFormat' is given without 'backing'")
  const dataFile = data === undefined ? undefined : await targetFile(platform, environment, data)
  const backing =
    below === undefined
      ? undefined
      : await openOriginal(platform, environment, below, { format: backingFormat, readOnly: true })
  try {
    const created = await createImage(environment, {
      ...(size !== undefined && { size }),
      ...creation,
      ...(backing && {
        backing: backing.node,
        backingFile: nameFor(platform, environment, target, below, backing.node),
        backingFmt: skipFilters(backing.node).driver.name,
      }),
      driver: format,
      file: target.file,
      ...(dataFile && { dataFile: dataFile.file }),
      overwrite,
    })
    return { created, format, dataFile, backing }
  } catch (error) {
    await closeOwn(backing)
    throw error
  }
}

/** Closes what was opened for an operation. */
export async function closeOwn(opened: OpenedNode | undefined): Promise<void> {
  if (opened?.isOwn) await opened.node.close()
}

/** The name of a backing file in the header of a new image. @throws BlockError ENOTSUP if it cannot have one */
function nameFor(
  platform: Platform,
  environment: OpenEnvironment,
  target: TargetFile,
  below: unknown,
  node: BlockNode,
): string {
  const overlay = target.source as OverlaySource['overlay'] | undefined
  const named = sourceOf(platform, below, node)
  const name = overlay && named && platform.fileOf(environment, named).nameFrom?.(overlay)
  if (name !== undefined) return name
  throw new BlockError(
    'ENOTSUP',
    'the image cannot name this backing file: give both when you open them, as { overlay, base }',
  )
}

/** Where an open backing file is. */
function sourceOf(platform: Platform, below: unknown, node: BlockNode): ImageSource | undefined {
  const { file } = skipFilters(node)
  // A disk that is open already was opened from a path, perhaps.
  if (file?.node.driver.takesPaths) return { file: file.filename }
  const plain = platform.writeOut(below)
  return isPlain(plain) && !('driver' in plain) && !('overlay' in plain)
    ? (plain as unknown as ImageSource)
    : undefined
}
