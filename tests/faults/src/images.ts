/**
 * Images on host files, opened in every way the `file` driver offers.
 * @module
 */
import { constants } from 'node:fs'
import { open as openFile, unlink } from 'node:fs/promises'
import { type BlockNode, DriverRegistry, formatImage, openNode, type RawOptions } from '@vmblock/block-core'
import { file, nodeHost } from '@vmblock/block-core/node'
import { qcow2 } from '@vmblock/qcow2'
import { qed } from '@vmblock/qed'
import { raw } from '@vmblock/raw'

/** The environment that opens images. */
export const environment = { registry: new DriverRegistry([raw, qcow2, qed, file]), host: nodeHost() }

/** A kind of image. */
export interface Kind {
  readonly name: string
  readonly format: 'raw' | 'qcow2' | 'qed'
  /** Options as for `qemu-img create -o`, without the size. */
  readonly create: RawOptions
  readonly overlay?: true
}

/** The kinds of images. No tables of one cluster: QEMU does not accept them. */
export const KINDS: readonly Kind[] = [
  { name: 'raw', format: 'raw', create: {} },
  { name: 'qcow2', format: 'qcow2', create: { cluster_size: 4096 } },
  { name: 'lazy qcow2', format: 'qcow2', create: { cluster_size: 4096, lazy_refcounts: true } },
  { name: 'qcow2 overlay', format: 'qcow2', create: { cluster_size: 16384 }, overlay: true },
  { name: 'qed', format: 'qed', create: { cluster_size: 4096, table_size: 2 } },
]

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
  await file.createPlace!({ filename: path } as never, 0, 'off')
  const node = await openNode(environment, { driver: 'file', filename: path })
  try {
    if (format === 'raw') await node.truncate(size)
    else await formatImage(environment.registry.get(format), node, { ...create, size })
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
    ...(kind.format !== 'raw' && {
      backing: kind.overlay ? { driver: 'raw', file: { driver: 'file', filename: String(backing) } } : null,
    }),
  })
