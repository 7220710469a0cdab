/** Opens an {@link Image} from a file, and changes between reading and writing. */
import {
  type BlockChild,
  BlockError,
  type BlockNode,
  type ChildReference,
  opsOf,
} from '@vmblock/block-core/driver'
import { endOfImage, requirePlaces } from './block-places.ts'
import { NO_GUID } from './format/guid.ts'
import { FILE_SIGNATURE } from './format/header.ts'
import { Headers } from './headers.ts'
import { Image } from './image.ts'
import type { Source } from './log-search.ts'
import { readTables, type Tables } from './read-tables.ts'
import { logPlaceOf, ReplayedFile, readLog, replayIntoFile } from './replay.ts'

/** How an image is opened. */
export interface Opening {
  readonly nodeName: string
  readonly file: BlockChild
  /** Nothing is written, and misplaced blocks are let be. */
  readonly checkMode: boolean
  readonly writable: boolean
  readonly logLimit?: number | undefined
  /** Opens the parent. */
  parent(reference: ChildReference): Promise<BlockChild | undefined>
}

/** An image, and whether its log has to be replayed in the file. */
export interface OpenImage {
  readonly image: Image
  readonly hasLog: boolean
}

/**
 * Opens an image. A log is replayed in memory if nothing may be written, and else in the file.
 *
 * @throws BlockError EFORMAT, EINVAL, ENOTSUP, EFBIG; errors of the file
 */
export async function openImage(opening: Opening): Promise<OpenImage> {
  const { file, nodeName, checkMode, writable, logLimit } = opening
  const signature = new Uint8Array(FILE_SIGNATURE.length)
  await file.read(0, signature)
  if (!isVhdx(signature)) throw new BlockError('EFORMAT', 'Image not in VHDX format')
  const headers = await Headers.read(file)
  const replay = await readLog(file, headers.current)
  const writes = writable && !checkMode
  // What is found wrong in an image that cannot be written anyway shall not be replayed before it is refused.
  const source: Source = replay ? await ReplayedFile.from(replay, file) : file
  const tables = await readTables(source, headers, logPlaceOf(headers.current, file))
  if (!checkMode) requirePlaces(tables)
  if (writes && tables.disk.hasParent)
    throw new BlockError('ENOTSUP', 'VHDX differencing images can only be opened read-only')
  const end = writes ? endOfImage(tables) : undefined
  if (writes && replay) await replayIntoFile(replay, file)
  // Also a log in which nothing is whole: other programs take an image for damaged whose headers name one.
  if (writes && headers.current.logGuid !== NO_GUID) await headers.update(file, { logGuid: NO_GUID })
  const { parent } = tables
  const backing = parent && (await opening.parent({ filename: parent.filename, driver: 'vhdx' }))
  if (parent && backing && !checkMode) requireLinkage(parent.linkages, backing.node)
  const image = new Image({
    nodeName,
    file,
    dataFile: writes ? file : asGuestsSee(file, source, tables),
    tables: writes ? { ...tables, source: file } : tables,
    backing,
    logLimit,
    end,
  })
  return { image, hasLog: replay !== undefined && !writes }
}

/** Replays the log in the file, and empties it. @throws BlockError EINVAL for a damaged one; errors of the file */
export async function replayLog(file: BlockChild): Promise<void> {
  const headers = await Headers.read(file)
  const replay = await readLog(file, headers.current)
  if (!replay) return
  await replayIntoFile(replay, file)
  await headers.update(file, { logGuid: NO_GUID })
}

/** Whether the beginning of a file is that of a VHDX image. */
export const isVhdx = (head: Uint8Array): boolean =>
  head.length >= FILE_SIGNATURE.length &&
  [...FILE_SIGNATURE].every((letter, i) => letter.charCodeAt(0) === head[i])

/** Images by their operations, so that a child finds that of its parent. */
const images = new WeakMap<object, { readonly image: Image }>()

/** Remembers the image that operations work on; `current` may have another one later. */
export function remember(ops: object, current: { readonly image: Image }): void {
  images.set(ops, current)
}

/** @throws BlockError EINVAL if the parent is a VHDX image that was written since the child was made */
function requireLinkage(linkages: readonly bigint[], parent: BlockNode): void {
  let node = parent
  while (node.file?.kind.isFiltered) node = node.file.node
  const known = images.get(opsOf(node))
  if (!known || linkages.length === 0) return
  if (!linkages.includes(known.image.tables.headers.current.dataWriteGuid))
    throw new BlockError(
      'EINVAL',
      `the parent of the VHDX image was changed after the image was made, or is another: '${parent.filename || parent.name}'`,
    )
}

/** The file as requests of the guest see it: with the log replayed where it changes data, which no program does. */
function asGuestsSee(file: BlockChild, source: Source, { offsets, partial, disk }: Tables): BlockChild {
  if (!(source instanceof ReplayedFile)) return file
  const places = [...partial.values(), ...offsets.filter((offset) => offset > 1)]
  if (!places.some((offset) => source.changes(offset, disk.blockSize))) return file
  return new Proxy(file, {
    get(target, key) {
      if (key === 'read') return source.read.bind(source)
      const value: unknown = Reflect.get(target, key, target)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
}
