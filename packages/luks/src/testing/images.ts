/** Images on memory nodes, whose secrets are their ids. */
import {
  type BlockNode,
  DriverRegistry,
  denyHost,
  formatImage,
  memory,
  openNode,
  type RawOptions,
} from '@vmblock/block-core'
import { luks } from '../driver.ts'

/** No files of the host; `noise` is a key file that is no text. */
export const environment = {
  registry: new DriverRegistry([memory, luks]),
  host: denyHost,
  secret: async (id: string): Promise<Uint8Array> =>
    id === 'noise' ? Uint8Array.of(0xff, 0, 0xfe, 10) : new TextEncoder().encode(id),
}

/** The least that a key slot may cost, in time and bytes. */
export const QUICK = {
  'key-secret': 'one',
  'iter-time': 1,
  'cipher-alg': 'aes-128',
  'cipher-mode': 'cbc',
} as const

/** A new image of version 1. */
export async function createImage(options: RawOptions = {}): Promise<BlockNode> {
  const file = await openNode(environment, { driver: 'memory' })
  const { secret } = environment
  await formatImage(luks, file, { ...QUICK, ...options } as never, undefined, { secret })
  return file
}

/** Opens an image. */
export const open = (file: BlockNode, options: RawOptions = {}): Promise<BlockNode> =>
  openNode(environment, { driver: 'luks', file, 'key-secret': 'one', ...options } as never)
