/**
 * Our side: images on host files, opened and created through the library.
 * @module
 */
import {
  type BlockNode,
  type CheckReport,
  DriverRegistry,
  formatImage,
  openNode,
  type RepairMode,
} from '@vmblock/block-core'
import { parseOptions } from '@vmblock/block-core/driver'
import { file, nodeHost } from '@vmblock/block-core/node'
import type { ImageOptions } from '@vmblock/block-core/testing'
import { type CacheMode, cacheMode } from '@vmblock/cli'
import { formats } from '@vmblock/formats'

/** The environment that opens images: files, the formats, and whatever backing file an image names. */
export const environment = { registry: new DriverRegistry([...formats, file]), host: nodeHost() }

/** How to open an image. */
export interface OpenOptions {
  readonly cache?: CacheMode
  /** The `aio` option of the `file` driver. */
  readonly aio?: string
  readonly readOnly?: boolean
  /** For checks only: repairs nothing, and refuses no broken image. */
  readonly checkMode?: boolean
}

/** Opens an image file. */
export function openOurs(path: string, format: string, options: OpenOptions = {}): Promise<BlockNode> {
  const { cache = 'writeback', aio, readOnly = false, checkMode = false } = options
  const { writeCache, direct, noFlush } = cacheMode(cache)!
  return openNode(environment, {
    driver: format,
    ...(aio === undefined ? { filename: path } : { file: { driver: 'file', filename: path, aio } }),
    discard: 'unmap',
    cache: { writeback: writeCache, direct, 'no-flush': noFlush },
    ...(readOnly && { readOnly: true }),
    ...(checkMode && { checkMode: true }),
  })
}

/** Creates an image file, and its external data file if it has one. */
export async function createOurs(
  path: string,
  format: string,
  size: number,
  options: ImageOptions,
): Promise<void> {
  const driver = environment.registry.get(format)
  const makeFile = async (filename: string): Promise<BlockNode> => {
    await file.createFile?.(parseOptions(file.options ?? {}, { filename }) as never, 0, 'off')
    return openNode(environment, { driver: 'file', filename })
  }
  const node = await makeFile(path)
  const data = options['data_file']
  const dataFile = data === undefined ? undefined : await makeFile(data)
  try {
    await formatImage(driver, node, { ...options, size }, dataFile)
  } finally {
    await node.close()
    await dataFile?.close()
  }
}

/** The findings and messages of our check. */
export interface OurCheck {
  readonly report: CheckReport
  readonly lines: readonly string[]
}

/** Checks an image file as `qemu-img check` does, and repairs it on demand. */
export async function checkOurs(path: string, repair?: RepairMode, format = 'qcow2'): Promise<OurCheck> {
  const node = await openOurs(path, format, { checkMode: true, readOnly: repair === undefined })
  const lines: string[] = []
  try {
    const report = await node.check({
      report: ({ message }) => lines.push(message),
      ...(repair && { repair }),
    })
    return { report, lines }
  } finally {
    await node.close()
  }
}

/** The whole disk of an image file, opened for reading. */
export async function contentOf(path: string, format: string): Promise<Uint8Array> {
  const node = await openOurs(path, format, { readOnly: true })
  try {
    const bytes = new Uint8Array(node.size)
    for (let at = 0; at < bytes.length; at += 2 ** 20) await node.read(at, bytes.subarray(at, at + 2 ** 20))
    return bytes
  } finally {
    await node.close()
  }
}
