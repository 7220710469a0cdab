/** The common part of nodes that read something remote and never write it. */

import { BlockError } from '../base/errors.ts'
import type { NodeOps, Patience } from '../contract/node-ops.ts'
import type { ChunkCache, ChunkSource } from './chunk-cache.ts'

/**
 * Refuses to open for writing. A node with `auto-read-only` is then opened read-only, as with QEMU's curl
 * driver.
 *
 * @throws BlockError EACCES
 */
export function requireReadOnly(driver: string, readOnly: boolean): void {
  if (!readOnly)
    throw new BlockError('EACCES', `the ${driver} driver does not support writes: open it with read-only=on`)
}

/** The parts of a read-only node. */
export interface ReadOnlyParts {
  readonly source: ChunkSource
  readonly cache: ChunkCache
  /** Ends all requests in flight. */
  stop?(): void
  /** See {@link NodeOps.setPatience}. */
  setPatience?(patience: Patience): void
}

/** The operations of a read-only node. */
export function readOnlyDisk({ source, cache, stop, setPatience }: ReadOnlyParts): NodeOps {
  return {
    size: () => source.size,
    read: (offset, into) => cache.read(offset, into),
    ...(setPatience && { setPatience }),
    async close() {
      stop?.()
    },
    crash() {
      stop?.()
    },
  }
}
