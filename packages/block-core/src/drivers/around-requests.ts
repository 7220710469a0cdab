/** Filters that do something around requests: delay, record, refuse or order them, in one place for all kinds. */
import type { NodeOps } from '../contract/node-ops.ts'
import type { WriteFlags } from '../contract/requests.ts'
import { type OpsChanges, withChanges } from './pass-through.ts'

/**
 * A request on its way to the child. Offsets and lengths in bytes; a flush and a truncate have offset 0 and 0 bytes.
 * `data` is the caller's memory, and the caller's again once the request has ended.
 */
export type FilteredRequest = { readonly offset: number; readonly bytes: number } & (
  | { readonly kind: 'read' | 'discard' | 'blockStatus' | 'copyRange' | 'flush' }
  | { readonly kind: 'write'; readonly data: Uint8Array; readonly flags: WriteFlags }
  | { readonly kind: 'writeCompressed'; readonly data: Uint8Array }
  | { readonly kind: 'writeZeroes'; readonly flags: WriteFlags }
  /** `size` is the new one. */
  | { readonly kind: 'truncate'; readonly size: number }
)

/** Runs `run`, which hands the request on, once; or refuses the request by throwing. */
export type AroundRequest = <T>(request: FilteredRequest, run: () => Promise<T>) => Promise<T>

/**
 * Lets `around` run every request of `ops`, which come from {@link forwardOps}: all that read, change, describe or
 * flush the disk, but not the VM state, nor operations on the whole node. What is absent stays absent.
 */
export function aroundRequests(ops: NodeOps, around: AroundRequest): NodeOps {
  const wrapped: NodeOps = {
    size: () => ops.size(),
    read: (offset, into) =>
      around({ kind: 'read', offset, bytes: into.length }, () => ops.read(offset, into)),
    write: (offset, data, flags) =>
      around({ kind: 'write', offset, bytes: data.length, data, flags }, () =>
        ops.write!(offset, data, flags),
      ),
    writeCompressed: (offset, data) =>
      around({ kind: 'writeCompressed', offset, bytes: data.length, data }, () =>
        ops.writeCompressed!(offset, data),
      ),
    writeZeroes: (offset, bytes, flags) =>
      around({ kind: 'writeZeroes', offset, bytes, flags }, () => ops.writeZeroes!(offset, bytes, flags)),
    discard: (offset, bytes) => around({ kind: 'discard', offset, bytes }, () => ops.discard!(offset, bytes)),
    copyRange: (offset, bytes, source, sourceOffset) =>
      around({ kind: 'copyRange', offset, bytes }, () => ops.copyRange!(offset, bytes, source, sourceOffset)),
    blockStatus: (offset, bytes) =>
      around({ kind: 'blockStatus', offset, bytes }, () => ops.blockStatus!(offset, bytes)),
    truncate: (size, options) =>
      around({ kind: 'truncate', offset: 0, bytes: 0, size }, () => ops.truncate!(size, options)),
    flush: () => around({ kind: 'flush', offset: 0, bytes: 0 }, () => ops.flush!()),
  }
  return withChanges(ops, {
    read: wrapped.read,
    get write() {
      return ops.write && wrapped.write
    },
    get writeCompressed() {
      return ops.writeCompressed && wrapped.writeCompressed
    },
    get writeZeroes() {
      return ops.writeZeroes && wrapped.writeZeroes
    },
    get discard() {
      return ops.discard && wrapped.discard
    },
    get copyRange() {
      return ops.copyRange && wrapped.copyRange
    },
    get blockStatus() {
      return ops.blockStatus && wrapped.blockStatus
    },
    get truncate() {
      return ops.truncate && wrapped.truncate
    },
    get flush() {
      return ops.flush && wrapped.flush
    },
  } satisfies OpsChanges)
}
