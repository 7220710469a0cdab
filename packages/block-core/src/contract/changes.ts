/** The changes of a node's content, as its observers learn of them. */

/**
 * What was requested. `writeZeroes` may be done by writing data, and a `write` of zero bytes by zeroing: the kind is
 * the caller's. `makeEmpty`, `repair`, `amend` and `applySnapshot` concern the whole node.
 */
export type ChangeKind =
  | 'write'
  | 'writeCompressed'
  | 'writeZeroes'
  | 'discard'
  | 'copyRange'
  | 'truncate'
  | 'makeEmpty'
  | 'repair'
  | 'amend'
  | 'applySnapshot'

/** One request that changes a node, however many steps it takes. Offsets and lengths in bytes of the node. */
export interface Change {
  readonly kind: ChangeKind
  /**
   * Where it begins and how long it is: all bytes that may differ afterwards. A request that does not fill whole
   * blocks of `requestAlignment` is widened to them, because a failure may damage the whole block. A truncate
   * changes what it cuts off or adds, which may be nothing (0 bytes).
   */
  readonly offset: number
  readonly bytes: number
}

/**
 * Reads what the node holds before a change; zeroes beyond its end. Only until `before` has ended.
 *
 * @throws BlockError what the driver throws; ECANCELED once the node crashed
 */
export type ReadOld = (offset: number, into: Uint8Array) => Promise<void>

/** Learns of the changes of one node; see {@link BlockNode.observe}. */
export interface ChangeObserver {
  /**
   * A change is about to begin, and waits until the promise resolves; if it is rejected, the request fails with its
   * error, and nothing is changed. Changes that overlap this one have ended, or wait for its end.
   *
   * Old content comes from `readOld`: a request to the node itself might wait for the node to be drained, and
   * thereby for this very change.
   */
  before?(change: Change, readOld: ReadOld): void | Promise<void>
  /**
   * A change has ended, successfully or not: its range may hold old content, new content, or both. Told once for
   * every change whose `before` was due, even if that was refused. What it throws fails the request.
   */
  after?(change: Change): void
}
