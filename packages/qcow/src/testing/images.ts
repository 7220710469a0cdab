/** Images on memory nodes, whose secrets are their ids. */
import {
  type BlockNode,
  DriverRegistry,
  denyHost,
  formatImage,
  memory,
  openMemory,
  openNode,
  type RawOptions,
} from '@vmblock/block-core'
import { qcow } from '../driver.ts'
import { HEADER, MAGIC, VERSION } from '../format/header.ts'

/** No files of the host; `noise` is no text. */
export const environment = {
  registry: new DriverRegistry([memory, qcow]),
  host: denyHost,
  secret: async (id: string): Promise<Uint8Array> =>
    id === 'noise' ? Uint8Array.of(0xff, 0xfe) : new TextEncoder().encode(id),
}

/** A new image. */
export async function createImage(options: RawOptions): Promise<BlockNode> {
  const file = await openNode(environment, { driver: 'memory' })
  await formatImage(qcow, file, options as never, undefined, { secret: environment.secret })
  return file
}

/** Opens an image. */
export const open = (file: BlockNode, options: RawOptions = {}): Promise<BlockNode> =>
  openNode(environment, { driver: 'qcow', file, backing: null, ...options } as never)

/** The geometry of an image that no program makes by itself. */
export interface Bare {
  readonly clusterBits: number
  readonly l2Bits: number
  /** Bytes of the disk. */
  readonly size: number
  /** Bytes behind the header: the L1 table, at 48, and what follows. */
  readonly rest?: Uint8Array
}

/** An image of any geometry, whose L1 table is at 48. */
export function bareImage({ clusterBits, l2Bits, size, rest = new Uint8Array(512) }: Bare): BlockNode {
  const bytes = new Uint8Array(48 + rest.length)
  HEADER.write(bytes, {
    magic: MAGIC,
    version: VERSION,
    backingNameOffset: 0,
    backingNameSize: 0,
    mtime: 0,
    size,
    clusterBits,
    l2Bits,
    padding: 0,
    cryptMethod: 0,
    l1TableOffset: 48,
  })
  bytes.set(rest, 48)
  return openMemory(bytes)
}
