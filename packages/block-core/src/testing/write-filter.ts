/** A filter whose writes a test answers itself: with an error, in part, or late. */

import { type AnyDriver, defineDriver } from '../contract/driver.ts'
import type { BlockChild } from '../contract/node.ts'
import type { NodeOps } from '../contract/node-ops.ts'
import { forwardOps } from '../drivers/pass-through.ts'

/** Takes the place of {@link NodeOps.write}; `child` is the file below. */
export type TestWrite = (
  child: BlockChild,
  ...args: Parameters<NonNullable<NodeOps['write']>>
) => Promise<void>

/** A filter that passes everything on but data that is written: `write` does that. */
export const writeFilter = (name: string, write: TestWrite): AnyDriver =>
  defineDriver({
    name,
    kind: 'filter',
    async open(context) {
      const child = await context.requireChild('file')
      return forwardOps(child, { write: (...args) => write(child, ...args) })
    },
  })
