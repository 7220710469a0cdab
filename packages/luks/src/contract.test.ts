/** The contract of all drivers. A new disk is noise, so it is filled with zeroes first; the cheap headers of version 2 are opened fast. */
import { type BlockNode, openNode } from '@vmblock/block-core'
import { driverContract, type NodeWish } from '@vmblock/block-core/testing'
import { environment } from './testing/images.ts'
import { luks2File } from './testing/luks2-image.ts'

const files = new WeakMap<BlockNode, BlockNode>()
const PLAIN: Omit<NodeWish, 'size'> = { readOnly: false, writeCache: true, detectZeroes: 'off' }

async function openOn(file: BlockNode, wish: Omit<NodeWish, 'size'>): Promise<BlockNode> {
  const node = await openNode(environment, {
    driver: 'luks',
    file,
    'key-secret': 'one',
    readOnly: wish.readOnly,
    cache: { writeback: wish.writeCache },
    detectZeroes: wish.detectZeroes,
    discard: 'unmap',
  } as never)
  files.set(node, file)
  return node
}

/** Sectors of 4 KiB: the core has to read and change what a request covers in part. */
driverContract(
  'luks',
  async ({ size, ...wish }) => {
    const file = luks2File('one', { size, sectorSize: 4096 })
    const full = await openOn(file, PLAIN)
    await full.write(0, new Uint8Array(size))
    await full.close()
    return openOn(file, wish)
  },
  { granularity: 4096, reopen: (node) => openOn(files.get(node)!, PLAIN) },
)
