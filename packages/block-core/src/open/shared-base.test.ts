/** Opening an image on a base with many users: the cost does not grow with their number. */
import { describe, expect, it } from 'vitest'
import { cow, storage } from '../contract/child-kinds.ts'
import { defineDriver } from '../contract/driver.ts'
import { denyHost } from '../contract/image-resolver.ts'
import type { BlockNode } from '../contract/node.ts'
import type { NodeOps } from '../contract/node-ops.ts'
import type { OpenEnvironment } from '../contract/open-environment.ts'
import { DriverRegistry } from '../contract/registry.ts'
import { memory } from '../drivers/memory.ts'
import { forwardOps } from '../drivers/pass-through.ts'
import { looks } from '../graph/uses.ts'
import { openNode } from './open.ts'

/** A format with a backing file, which does not share its file with writers. */
const format = defineDriver({
  name: 'format',
  kind: 'format',
  children: { file: storage, backing: cow },
  async open(context): Promise<NodeOps> {
    const file = await context.requireChild('file')
    await context.child('backing')
    return { ...forwardOps(file), size: () => file.size }
  },
})

/** A protocol whose nodes all have the same file identity. */
const sameFile = defineDriver({
  name: 'same-file',
  kind: 'protocol',
  open: async (): Promise<NodeOps> => ({
    identity: 'the only one',
    size: () => 65536,
    read: async () => undefined,
    write: async () => undefined,
  }),
})

type Opening = (environment: OpenEnvironment, base: BlockNode) => Promise<BlockNode>

const OPENINGS: readonly [string, boolean, Opening][] = [
  [
    'overlays over one node',
    false,
    (environment, base) =>
      openNode(environment, { driver: 'format', file: { driver: 'memory', size: 65536 }, backing: base }),
  ],
  [
    'overlays, each with its own node of one base',
    false,
    (environment) =>
      openNode(environment, {
        driver: 'format',
        file: { driver: 'memory', size: 65536 },
        backing: { driver: 'format', file: { driver: 'same-file' } },
      }),
  ],
  [
    'readers of one file node',
    true,
    (environment, base) => openNode(environment, { driver: 'format', readOnly: true, file: base }),
  ],
  [
    'readers, each with its own node of one file',
    false,
    (environment) =>
      openNode(environment, { driver: 'format', readOnly: true, file: { driver: 'same-file' } }),
  ],
]

describe('opening and closing', () => {
  it.each(OPENINGS)('%s costs the same for the thousandth as for the first', async (_, readOnly, open) => {
    const environment = { registry: new DriverRegistry([memory, format, sameFile]), host: denyHost }
    const base = await openNode(environment, { driver: 'memory', size: 65536, readOnly })
    const cost = async (count: number): Promise<number> => {
      const before = looks.uses
      const nodes: BlockNode[] = []
      for (let i = 0; i < count; i++) nodes.push(await open(environment, base))
      for (const node of nodes) await node.close()
      return (looks.uses - before) / count
    }
    const few = await cost(10)
    expect(few).toBeGreaterThan(0)
    expect(await cost(1000)).toBeLessThanOrEqual(few + 1)
    await base.close()
  })
})
