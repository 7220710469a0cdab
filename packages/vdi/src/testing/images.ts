/** Images with small blocks on memory nodes, as VirtualBox may make them; and the means to damage them. */
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
import {
  alignUp,
  bool,
  type Creation,
  defineDriver,
  divUp,
  parseOptions,
  SECTOR,
  size,
  viewOf,
} from '@vmblock/block-core/driver'
import { writeImage } from '../create.ts'
import { vdi } from '../driver.ts'
import type { Header } from '../format/header.ts'

const options = {
  size: size('Virtual disk size'),
  static: bool('All blocks are allocated', false),
  block_size: size('Bytes of a block', 4096),
  map_offset: size('Host offset of the map', SECTOR),
  data_offset: size('Host offset of the blocks; 0: behind the map', 0),
}

/** Makes images with blocks of any size, laid out in other ways than QEMU does. */
const smallCreation: Creation<typeof options> = {
  options,
  async create({ file, options: given }) {
    const { static: isFixed, block_size: blockSize, map_offset: mapOffset, size: diskSize = 0 } = given
    const blocks = divUp(diskSize, blockSize)
    const header: Header = {
      mapOffset,
      dataOffset: given.data_offset || mapOffset + alignUp(blocks * 4, SECTOR),
      diskSize,
      blockSize,
      blocks,
      allocatedBlocks: isFixed ? blocks : 0,
      isFixed,
    }
    await writeImage(file, header)
  },
}

/** The driver, whose creation makes images with small blocks. */
export const smallVdi = defineDriver({ ...vdi, creation: async () => smallCreation })

/** An empty disk in memory. */
export const emptyDisk = (): Promise<BlockNode> =>
  openNode({ registry: new DriverRegistry([memory]), host: denyHost }, { driver: 'memory' })

/** A new image on a memory node. */
export async function createImage(given: RawOptions): Promise<BlockNode> {
  const file = await emptyDisk()
  await smallCreation.create({ file, options: parseOptions(options, given) })
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
  const registry = new DriverRegistry([memory, writeLog, vdi])
  const node = await openNode(
    { registry, host: denyHost },
    { driver: 'vdi', ...more, file: { driver: 'write-log', log, file } },
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

/** All of a disk, one byte of each `step` bytes. */
export async function sample(node: BlockNode, step: number): Promise<number[]> {
  const bytes = new Uint8Array(node.size)
  await node.read(0, bytes)
  return Array.from({ length: Math.ceil(node.size / step) }, (_, index) => bytes[index * step]!)
}
