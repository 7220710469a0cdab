/** What a node asks of requests, under the names of QEMU 10.2's `BlockLimitsInfo`. */
import type { BlockNode } from '@vmblock/block-core'

/** QEMU's `BlockLimitsInfo`; all but `max-iov` in bytes. What is not limited is absent. */
export interface LimitFacts {
  readonly 'request-alignment': number
  readonly 'max-discard'?: number
  readonly 'discard-alignment'?: number
  readonly 'max-write-zeroes'?: number
  readonly 'write-zeroes-alignment'?: number
  readonly 'max-transfer'?: number
  /** Buffers of a request: there is one. */
  readonly 'max-iov': number
  /** Of memory that is not copied first. */
  readonly 'min-mem-alignment': number
  readonly 'opt-mem-alignment': number
}

/** Bytes of a page: buffers of the programs begin with one. */
const PAGE = 4096

/** The limits of a node. */
export function limitFacts(node: BlockNode): LimitFacts {
  const {
    requestAlignment,
    maxTransfer,
    writeZeroesAlignment,
    maxWriteZeroes,
    discardAlignment,
    maxDiscard,
  } = node.limits
  const some = (name: string, bytes: number, none: number): object =>
    bytes === none ? {} : { [name]: bytes }
  const unlimited = Number.MAX_SAFE_INTEGER
  return {
    'request-alignment': requestAlignment,
    ...some('max-discard', maxDiscard, unlimited),
    ...some('discard-alignment', discardAlignment, 1),
    ...some('max-write-zeroes', maxWriteZeroes, unlimited),
    ...some('write-zeroes-alignment', writeZeroesAlignment, 1),
    ...some('max-transfer', maxTransfer, unlimited),
    'max-iov': 1,
    'min-mem-alignment': memoryAlignment(node),
    'opt-mem-alignment': PAGE,
  }
}

/** Files that bypass the cache of the kernel take requests, and memory, in blocks; others take any. */
const memoryAlignment = (node: BlockNode): number =>
  node.file ? memoryAlignment(node.file.node) : node.limits.requestAlignment
