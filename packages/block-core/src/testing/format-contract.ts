/** The contract of all drivers for a format: its images are files in memory. */
import {
  type AnyDriver,
  type BlockNode,
  DriverRegistry,
  denyHost,
  formatImage,
  memory,
  openNode,
  type RawOptions,
} from '../index.ts'
import type { DriverCapabilities, NodeWish } from './contract-kit.ts'
import { driverContract } from './driver-contract.ts'
import { openTestNode } from './nodes.ts'

/** The images that the suite runs on, and what the format can do. */
export interface FormatContract extends Omit<DriverCapabilities, 'reopen'> {
  /** The name of the suite. Default: the driver's. */
  readonly name?: string
  /** Options of creation, by QEMU's names, besides `size`. */
  readonly create?: RawOptions
  /** Whether images stand over a backing file, which is empty. Default: no. */
  readonly overBacking?: boolean
}

/** Declares a vitest suite: the cases of `driverContract`, also on images that are closed and opened again. */
export function formatContract(driver: AnyDriver, contract: FormatContract = {}): void {
  const { name = driver.name, create = {}, overBacking = false, ...capabilities } = contract
  const environment = { registry: new DriverRegistry([memory]), host: denyHost }
  const below = new WeakMap<BlockNode, Readonly<Record<string, BlockNode>>>()

  const openOn = async (
    children: Readonly<Record<string, BlockNode>>,
    config: Omit<NodeWish, 'size'>,
  ): Promise<BlockNode> => {
    const node = await openTestNode(driver, { config, children })
    below.set(node, children)
    return node
  }
  const makeNode = async ({ size, ...config }: NodeWish): Promise<BlockNode> => {
    const file = await openNode(environment, { driver: 'memory' })
    await formatImage(driver, file, { ...create, size })
    if (!overBacking) return openOn({ file }, config)
    return openOn({ file, backing: await openNode(environment, { driver: 'memory', size }) }, config)
  }
  driverContract(name, makeNode, {
    ...capabilities,
    reopen: (node) => openOn(below.get(node)!, { readOnly: false, writeCache: true, detectZeroes: 'off' }),
  })
}
