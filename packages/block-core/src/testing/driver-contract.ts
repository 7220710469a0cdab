/**
 * The suite that every driver must pass: what users of a {@link BlockNode} may rely on, whatever the driver.
 * Each test case runs on the driver's node, and again through a filter that changes nothing.
 */
import { afterEach, describe } from 'vitest'
import type { BlockNode } from '../contract/node.ts'
import { passThrough } from '../drivers/pass-through.ts'
import { dataCases } from './contract-data.ts'
import { crashed, createBench, type DriverCapabilities, type MakeNode } from './contract-kit.ts'
import { nodeCases } from './contract-node.ts'
import { openTestNode } from './nodes.ts'

/** Declares the suite, twice: for the driver, and for the driver through `pass-through`. */
export function driverContract(
  name: string,
  makeNode: MakeNode,
  capabilities: DriverCapabilities = {},
): void {
  contractCases(`${name} keeps the driver contract`, makeNode, capabilities)
  const { reopen, ...rest } = capabilities
  const below = new WeakMap<BlockNode, BlockNode>()
  const filtered = async (node: BlockNode): Promise<BlockNode> => {
    const { config } = node
    const filter = await openTestNode(passThrough, { config, children: { file: node } })
    below.set(filter, node)
    return filter
  }
  contractCases(
    `${name} keeps the driver contract through a filter`,
    async (wish) => filtered(await makeNode(wish)),
    reopen
      ? {
          ...rest,
          async reopen(filter) {
            const node = below.get(filter)!
            // The test case closed or crashed the filter; the node below ends the same way.
            if (node.isOpen) await (crashed.has(filter) ? node.crash() : node.close())
            return filtered(await reopen(node))
          },
        }
      : rest,
  )
}

function contractCases(title: string, makeNode: MakeNode, capabilities: DriverCapabilities): void {
  const bench = createBench(makeNode)
  describe(title, () => {
    afterEach(() => bench.clear())
    dataCases(bench, capabilities)
    nodeCases(bench, makeNode, capabilities)
  })
}
