/** Images on memory nodes, for tests. */
import {
  type BlockNode,
  blkdebug,
  type CheckReport,
  DriverRegistry,
  denyHost,
  memory,
  openMemory,
  openNode,
  type RawOptions,
  WriteLog,
  writeLog,
} from '@vmblock/block-core'
import { parseOptions } from '@vmblock/block-core/driver'
import { createRandom, toBytes } from '@vmblock/block-core/testing'
import { qcow2 } from '../driver.ts'
import { loadMaintenance } from '../load-part.ts'

// Loaded once, here: no test may wait for it while it orders steps by turns of the event loop.
const { creation } = await loadMaintenance()

/** The environment for test images: all drivers that they need, no files of the host, and secrets whose bytes are their ids. */
export const environment = {
  registry: new DriverRegistry([memory, writeLog, blkdebug, qcow2]),
  host: denyHost,
  secret: async (id: string): Promise<Uint8Array> => new TextEncoder().encode(id),
}

/** An empty disk in memory, which drops discarded data. */
export const emptyDisk = (): Promise<BlockNode> =>
  openNode(environment, { driver: 'memory', discard: 'unmap' })

/** A new image on a memory node. `options` as for `qemu-img create -o`. */
export async function createImage(options: RawOptions, dataFile?: BlockNode): Promise<BlockNode> {
  const file = await emptyDisk()
  const { secret } = environment
  await creation.create({ file, dataFile, options: parseOptions(creation.options, options), secret })
  return file
}

/** An image opened over a log of what it writes. */
export interface LoggedImage {
  readonly node: BlockNode
  readonly log: WriteLog
}

/** Opens an image on `file`, logging. `options` as for `openNode`. */
export async function openLogged(file: BlockNode, options: RawOptions = {}): Promise<LoggedImage> {
  const log = new WriteLog()
  const node = await openNode(environment, {
    driver: 'qcow2',
    discard: 'unmap',
    ...options,
    file: { driver: 'write-log', log, file },
  })
  return { node, log }
}

/** Opens an image on `file`. */
export const open = (file: BlockNode, options: RawOptions = {}): Promise<BlockNode> =>
  openNode(environment, { driver: 'qcow2', discard: 'unmap', file, ...options })

/** The same bytes on another node, as if the disk had been removed and copied. */
export async function copyOf(file: BlockNode): Promise<BlockNode> {
  return openMemory(await toBytes(file))
}

/** Reads a range. */
export async function bytesAt(node: BlockNode, offset: number, bytes: number): Promise<Uint8Array> {
  const into = new Uint8Array(bytes)
  await node.read(offset, into)
  return into
}

/** `bytes` bytes of one value. */
export const filled = (value: number, bytes: number): Uint8Array => new Uint8Array(bytes).fill(value)

/** Seeded data without zeroes. */
export const pattern = (bytes: number, seed = 1): Uint8Array => createRandom(seed).bytes(bytes)

/** Changes bytes of an image file behind the driver's back. */
export const poke = (file: BlockNode, offset: number, bytes: readonly number[]): Promise<void> =>
  file.write(offset, Uint8Array.from(bytes))

/** A report with its lines. */
export type Findings = CheckReport & { readonly lines: readonly string[] }

/**
 * The findings of a check of an image that is not open for writing.
 *
 * @param more options of opening: its data file, or its key
 */
export async function findings(file: BlockNode, more: RawOptions = {}): Promise<Findings> {
  const lines: string[] = []
  const node = await openNode(environment, {
    driver: 'qcow2',
    file,
    readOnly: true,
    checkMode: true,
    backing: null,
    ...more,
  })
  const report = await node.check({ report: ({ message }) => lines.push(message) })
  await node.close()
  return { ...report, lines }
}

/** An image without problems. {@link SAFE} allows leaks, for images on which a request failed. */
export const SOUND = { corruptions: 0, checkErrors: 0, leaks: 0, lines: [] }
/** See {@link SOUND}. */
export const SAFE = { corruptions: 0, checkErrors: 0 }

/** Faster than `toEqual` for many bytes. */
export const sameBytes = (a: Uint8Array, b: Uint8Array): boolean =>
  a.length === b.length && a.every((byte, index) => byte === b[index])
