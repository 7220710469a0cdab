/** The contract of all drivers for QED, with small clusters, default ones, and over a backing file. */
import { type BlockNode, DriverRegistry, denyHost, memory, openNode, parseOptions } from '@vmblock/block-core'
import { driverContract, type NodeWish, openTestNode } from '@vmblock/block-core/testing'
import { createOptions, createQed } from './create.ts'
import { qed } from './driver.ts'

const files = new WeakMap<BlockNode, { file: BlockNode; backing: BlockNode | undefined }>()

async function openImage(
  file: BlockNode,
  backing: BlockNode | undefined,
  config: Omit<NodeWish, 'size'>,
): Promise<BlockNode> {
  const node = await openTestNode(qed, { config, children: { file, ...(backing && { backing }) } })
  files.set(node, { file, backing })
  return node
}

const make =
  (clusterSize: number, tableSize: number, overBacking: boolean) =>
  async ({ size, ...config }: NodeWish): Promise<BlockNode> => {
    const environment = { registry: new DriverRegistry([memory]), host: denyHost }
    const file = await openNode(environment, { driver: 'memory' })
    const backing = overBacking ? await openNode(environment, { driver: 'memory', size }) : undefined
    const options = { size, cluster_size: clusterSize, table_size: tableSize }
    await createQed({ file, options: parseOptions(createOptions, options) })
    return openImage(file, backing, config)
  }

const capabilities = (granularity: number) => ({
  truncate: 'grow' as const,
  knowsZeroes: true,
  granularity,
  async reopen(node: BlockNode): Promise<BlockNode> {
    const { file, backing } = files.get(node)!
    return openImage(file, backing, { readOnly: false, writeCache: true, detectZeroes: 'off' })
  },
})

driverContract('qed', make(65536, 4, false), capabilities(65536))
driverContract('qed with 4 KiB clusters', make(4096, 2, false), capabilities(4096))
driverContract('qed over a backing file', make(4096, 1, true), { ...capabilities(4096), knowsZeroes: false })
