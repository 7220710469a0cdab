/** Parallels images on memory nodes, and the means to damage them. */
import {
  type BlockNode,
  DriverRegistry,
  denyHost,
  memory,
  openNode,
  type RawOptions,
  WriteLog,
  writeLog,
} from '@vmblock/block-core'
import { defineDriver, parseOptions, size, viewOf } from '@vmblock/block-core/driver'
import { parallelsCreation } from '../create.ts'
import { parallels } from '../driver.ts'

/** Offsets of fields of the header, in bytes. */
export const FIELD = {
  tracks: 28,
  entries: 32,
  sectors: 36,
  inUse: 44,
  dataStart: 48,
  extension: 56,
} as const
/** Where the BAT begins, in bytes. */
export const BAT = 64
/** The mark of an image in use. */
export const IN_USE = 0x746f6e59

const oldOptions = {
  size: size('Virtual disk size'),
  cluster_size: size('Bytes of a cluster', 4096),
  data_offset: size('Where the header says that data begins', 0),
}

/** The driver, whose creation makes images with the older magic: the BAT counts sectors. */
export const oldParallels = defineDriver({
  ...parallels,
  creation: async () => ({
    options: oldOptions,
    async create({ file, options: given }) {
      const { size: bytes = 0, cluster_size: cluster } = given
      await file.truncate(0, { exact: true })
      const entries = Math.ceil(bytes / cluster)
      const head = new Uint8Array(Math.ceil((BAT + entries * 4) / 512) * 512)
      head.set(new TextEncoder().encode('WithoutFreeSpace'))
      const view = viewOf(head)
      view.setUint32(16, 2, true)
      view.setUint32(FIELD.tracks, cluster / 512, true)
      view.setUint32(FIELD.entries, entries, true)
      view.setUint32(FIELD.sectors, bytes / 512, true)
      // Only 32 bits count in these.
      view.setUint32(FIELD.sectors + 4, 0xdead, true)
      view.setUint32(FIELD.dataStart, given.data_offset / 512, true)
      await file.write(0, head)
    },
  }),
})

/** An empty disk in memory. */
export const emptyDisk = (): Promise<BlockNode> =>
  openNode({ registry: new DriverRegistry([memory]), host: denyHost }, { driver: 'memory' })

/** A new image on a memory node. */
export async function createImage(given: RawOptions): Promise<BlockNode> {
  const file = await emptyDisk()
  await parallelsCreation.create({ file, options: parseOptions(parallelsCreation.options, given) })
  return file
}

/** An image opened over a log of what it writes. */
export interface OpenImage {
  readonly node: BlockNode
  readonly log: WriteLog
}

/** Opens an image on `file`, logging. */
export async function open(file: BlockNode, more: RawOptions = {}): Promise<OpenImage> {
  const log = new WriteLog()
  const registry = new DriverRegistry([memory, writeLog, parallels])
  const node = await openNode(
    { registry, host: denyHost },
    { driver: 'parallels', ...more, file: { driver: 'write-log', log, file } },
  )
  return { node, log }
}

/** Changes a 32-bit field of a file. */
export async function poke(file: BlockNode, offset: number, value: number): Promise<void> {
  const word = new Uint8Array(4)
  viewOf(word).setUint32(0, value, true)
  await file.write(offset, word)
}

/** Reads 32-bit fields of a file. */
export async function peek(file: BlockNode, offset: number, count: number): Promise<number[]> {
  const bytes = new Uint8Array(count * 4)
  await file.read(offset, bytes)
  return Array.from({ length: count }, (_, index) => viewOf(bytes).getUint32(index * 4, true))
}

/** `bytes` bytes of one value. */
export const filled = (value: number, bytes: number): Uint8Array => new Uint8Array(bytes).fill(value)

/** One byte of each `step` bytes of a disk. */
export async function sample(node: BlockNode, step: number): Promise<number[]> {
  const bytes = new Uint8Array(node.size)
  await node.read(0, bytes)
  return Array.from({ length: Math.ceil(node.size / step) }, (_, index) => bytes[index * step]!)
}
