/** Images on memory nodes. */
import {
  type BlockNode,
  DriverRegistry,
  denyHost,
  formatImage,
  type ImageResolver,
  memory,
  openMemory,
  openNode,
  type RawOptions,
} from '@vmblock/block-core'
import { vpc } from '../driver.ts'

/** A new image on a memory node. `options` as for `qemu-img create -o`. */
export async function createImage(options: RawOptions): Promise<BlockNode> {
  const file = openMemory(new Uint8Array(0))
  await formatImage(vpc, file, options)
  return file
}

/** Opens an image. `options` as for `openNode`. */
export const open = (
  file: BlockNode,
  options: RawOptions = {},
  host: ImageResolver = denyHost,
): Promise<BlockNode> =>
  openNode({ registry: new DriverRegistry([memory, vpc]), host }, { driver: 'vpc', file, ...options })

/** Changes bytes of a file. */
export const poke = (file: BlockNode, offset: number, bytes: readonly number[]): Promise<void> =>
  file.write(offset, Uint8Array.from(bytes))

/** Reads a range. */
export async function bytesAt(node: BlockNode, offset: number, bytes: number): Promise<Uint8Array> {
  const into = new Uint8Array(bytes)
  await node.read(offset, into)
  return into
}

/** The different bytes of a range. */
export const shownIn = async (node: BlockNode, offset: number, bytes: number): Promise<number[]> => [
  ...new Set(await bytesAt(node, offset, bytes)),
]

/** Writes the checksum of what lies there: of 512 bytes a footer's, of 1024 a header's. */
export async function seal(file: BlockNode, offset: number, bytes: 512 | 1024): Promise<void> {
  const at = bytes === 512 ? 64 : 36
  const all = await bytesAt(file, offset, bytes)
  all.fill(0, at, at + 4)
  const sum = all.reduce((total, byte) => total + byte, 0)
  new DataView(all.buffer).setUint32(at, ~sum >>> 0)
  await file.write(offset, all)
}

/** `bytes` bytes of one value. */
export const filled = (value: number, bytes: number): Uint8Array => new Uint8Array(bytes).fill(value)
