/**
 * Images on host files, opened in every way the `file` driver offers.
 * @module
 */
import { constants } from 'node:fs'
import { open as openFile, unlink } from 'node:fs/promises'
import { type BlockNode, DriverRegistry, formatImage, openNode, type RawOptions } from '@vmblock/block-core'
import { file, nodeHost } from '@vmblock/block-core/node'
import {
  type ImageOptions,
  optionsText,
  type TestedFormat,
  type TestedVariety,
} from '@vmblock/block-core/testing'
import { formats } from '@vmblock/formats'
import { takes, testedFormat, varietiesFor } from '../../support/formats.ts'

/** The environment that opens images. */
export const environment = { registry: new DriverRegistry([...formats, file]), host: nodeHost() }

/** A kind of image. */
export interface Kind {
  readonly name: string
  readonly format: string
  /** Options as for `qemu-img create -o`, without the size. */
  readonly create: ImageOptions
  readonly overlay: boolean
  readonly checks: TestedFormat['checks']
  readonly inQemu: boolean
  /** Whether it may need a repair after a crash. */
  readonly mayBeDirty: boolean
  /** Whether space can be taken when it is created. */
  readonly preallocates: boolean
}

const kindOf = (format: TestedFormat, { create, small, dirty }: TestedVariety, overlay: boolean): Kind => ({
  name: [format.driver.name, optionsText(create), overlay ? 'overlay' : ''].filter(Boolean).join(' '),
  format: format.driver.name,
  // Below an overlay, larger clusters: each of the unaligned pieces leaves much to copy.
  create: { ...create, ...small, ...(overlay && takes(format, 'cluster_size') && { cluster_size: '16k' }) },
  overlay,
  checks: format.checks,
  inQemu: format.inQemu,
  mayBeDirty: dirty === 'all' || (dirty === 'without backing file' && !overlay),
  preallocates: format.checks !== 'no' && takes(format, 'preallocation'),
})

/** Every variety alone; and the plain ones, where they take a backing file, over another disk. */
export const KINDS: readonly Kind[] = varietiesFor('faults').flatMap(({ format, variety }) =>
  takes(format, 'backing_file') && Object.keys(variety.create).length === 0
    ? [kindOf(format, variety, false), kindOf(format, variety, true)]
    : [kindOf(format, variety, false)],
)

/** How the file is reached: options of the `file` driver and of the node above. */
export interface Way {
  readonly name: string
  readonly file: RawOptions
  readonly image: RawOptions
}

export const WAYS: readonly Way[] = [
  { name: 'aio=sync', file: { aio: 'sync' }, image: {} },
  { name: 'aio=threads', file: { aio: 'threads' }, image: {} },
  { name: 'aio=adaptive', file: { aio: 'adaptive' }, image: {} },
  { name: 'cache=none', file: {}, image: { 'cache.direct': true } },
]

/** Whether the file system at `directory` supports O_DIRECT. */
export async function takesDirect(path: string): Promise<boolean> {
  if (constants.O_DIRECT === undefined) return false
  try {
    const handle = await openFile(path, constants.O_RDWR | constants.O_CREAT | constants.O_DIRECT, 0o600)
    await handle.close()
    return true
  } catch {
    return false
  } finally {
    await unlink(path).catch(() => undefined)
  }
}

/** Makes an image file. */
export async function createImage(path: string, { format, create }: Kind, size: number): Promise<void> {
  await file.createFile!({ filename: path } as never, 0, 'off')
  const node = await openNode(environment, { driver: 'file', filename: path })
  try {
    await formatImage(environment.registry.get(format), node, { ...create, size })
  } finally {
    await node.close()
  }
}

/** Opens an image file; `backing` is a raw file below an overlay. */
export const openImage = (
  path: string,
  kind: Kind,
  way: Way,
  { backing, ...options }: RawOptions = {},
): Promise<BlockNode> =>
  openNode(environment, {
    driver: kind.format,
    discard: 'unmap',
    ...way.image,
    ...options,
    file: { driver: 'file', filename: path, ...way.file },
    ...(takes(testedFormat(kind.format), 'backing_file') && {
      backing: kind.overlay ? { driver: 'raw', file: { driver: 'file', filename: String(backing) } } : null,
    }),
  })
