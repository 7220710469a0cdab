/** Images on memory nodes, and files by name. */
import {
  BlockError,
  type BlockNode,
  DriverRegistry,
  formatImage,
  memory,
  openNode,
  type RawOptions,
  WriteLog,
  writeLog,
} from '@vmblock/block-core'
import { SECTOR, viewOf } from '@vmblock/block-core/driver'
import { vmdk } from '../driver.ts'

/** Bytes of a grain of new images. */
export const GRAIN = 65536

/** Files by name, in memory: what images name is found here, and nothing else. */
export class Files {
  readonly #files = new Map<string, BlockNode>()
  /** What is written to files that images name. */
  readonly log = new WriteLog()
  readonly environment = {
    registry: new DriverRegistry([memory, writeLog, vmdk]),
    host: {
      resolve: async ({ filename, driver }: { filename: string; driver?: string | undefined }) => {
        const file = this.#files.get(filename)
        if (!file) throw new BlockError('EACCES', `there is no '${filename}'`)
        return driver === undefined ? { driver: 'write-log', log: this.log, file } : { driver, file }
      },
    },
  }

  /** An empty file. */
  async add(name: string, content?: Uint8Array | string): Promise<BlockNode> {
    const file = await openNode(this.environment, { driver: 'memory' })
    this.#files.set(name, file)
    if (content !== undefined)
      await file.write(0, typeof content === 'string' ? new TextEncoder().encode(content) : content)
    return file
  }

  /** A new image of one file. */
  async image(name: string, options: RawOptions = {}): Promise<BlockNode> {
    const file = await this.add(name)
    await formatImage(vmdk, file, { size: '4M', ...options }, undefined, { filename: name })
    return file
  }

  /** Opens an image. */
  open(file: BlockNode, options: RawOptions = {}): Promise<BlockNode> {
    return openNode(this.environment, { driver: 'vmdk', file, ...options })
  }
}

/** `bytes` bytes of one value. */
export const filled = (value: number, bytes: number): Uint8Array => new Uint8Array(bytes).fill(value)

/** The bytes of a node at an offset. */
export async function bytesAt(node: BlockNode, offset: number, bytes: number): Promise<Uint8Array> {
  const into = new Uint8Array(bytes)
  await node.read(offset, into)
  return into
}

/** A little-endian word of a node. */
export const wordAt = async (node: BlockNode, offset: number): Promise<number> =>
  viewOf(await bytesAt(node, offset, 4)).getUint32(0, true)

/** Writes a little-endian word. */
export async function setWord(node: BlockNode, offset: number, value: number): Promise<void> {
  const bytes = new Uint8Array(4)
  viewOf(bytes).setUint32(0, value, true)
  await node.write(offset, bytes)
}

/** Host offset of the entry of a grain of a small new image: in the first table, or in its copy. */
export async function entryOffset(file: BlockNode, grain: number, copy = false): Promise<number> {
  const directory = (await wordAt(file, copy ? 48 : 56)) * SECTOR
  return (await wordAt(file, directory)) * SECTOR + grain * 4
}
