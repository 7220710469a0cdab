/**
 * Changes of the graph under running requests: a node takes another one's position, all or nothing. Meanwhile the
 * handles above hold their requests back, and no node above has one in flight.
 */
import { BlockError } from '../base/errors.ts'
import { Mutex } from '../base/mutex.ts'
import { shared } from '../base/shared-state.ts'
import type { OpenEnvironment } from '../contract/open-environment.ts'
import type { Edge, LinkedNode, NodeOrigin } from './links.ts'
import { nodeTitle } from './node-text.ts'
import { moveEdges } from './permissions.ts'

/** One change at a time for each environment: two that wait for each other's nodes would wait for ever. */
const locks = shared('graph-changes', () => new WeakMap<OpenEnvironment, Mutex>())

/** Runs a change of the graph that `node` belongs to, when no other is under way. @throws BlockError ENOTSUP */
export function changeGraph<T>(node: LinkedNode, change: (origin: NodeOrigin) => Promise<T>): Promise<T> {
  const { origin } = node
  if (!origin)
    throw new BlockError('ENOTSUP', `${nodeTitle(node)} was not opened from options`, { node: node.name })
  const lock = locks.get(origin.environment) ?? new Mutex()
  locks.set(origin.environment, lock)
  return lock.run(() => change(node.origin ?? origin))
}

/** The nodes above `node` but `apart`, each before those below it. @throws BlockError EBUSY while one of them is being opened */
function nodesAbove(node: LinkedNode, apart?: LinkedNode): LinkedNode[] {
  const found = new Set<LinkedNode>()
  const climb = (from: LinkedNode): void => {
    for (const { owner, parent } of from.parents) {
      if (!owner)
        throw new BlockError('EBUSY', `${nodeTitle(from)} is being opened by node '${parent}'`, {
          node: from.name,
        })
      if (owner === apart || found.has(owner)) continue
      climb(owner)
      found.add(owner)
    }
  }
  climb(node)
  return [...found]
}

async function drainedAll<T>(nodes: readonly LinkedNode[], body: () => Promise<T>): Promise<T> {
  const [first, ...rest] = nodes
  return first ? first.drained(() => drainedAll(rest, body)) : body()
}

/**
 * Runs `body` while nothing that is above `node` has a request in flight, and no handle begins one.
 *
 * @param apart a node above that nothing uses yet
 */
export async function quiesced<T>(node: LinkedNode, body: () => Promise<T>, apart?: LinkedNode): Promise<T> {
  const above = nodesAbove(node, apart)
  const releases = [node, ...above].flatMap(({ users }) => [...users].map((user) => user.hold()))
  try {
    return await drainedAll(above, async () => {
      await node.drain()
      return body()
    })
  } finally {
    for (const release of releases) release()
  }
}

const reaches = (from: LinkedNode, to: LinkedNode): boolean =>
  from === to || [...from.children.values()].some((edge) => reaches(edge.node, to))

/** The parents that are to use `to` instead of `from`: not `to` itself, nor what is below it. */
const edgesToMove = (from: LinkedNode, to: LinkedNode): Edge[] =>
  [...from.parents].filter(({ owner }) => !owner || !reaches(to, owner))

/** @throws BlockError EINVAL, EPERM if `to` cannot stand where `from` stands */
function requireFit(from: LinkedNode, to: LinkedNode, edges: readonly Edge[]): void {
  const refuse = (code: 'EINVAL' | 'EPERM', why: string): never => {
    throw new BlockError(code, `${nodeTitle(to)} cannot replace ${nodeTitle(from)}: ${why}`, {
      node: to.name,
    })
  }
  if (from === to) refuse('EINVAL', 'it is the same node')
  if (!to.isOpen) refuse('EINVAL', 'it is closed')
  if (to.size !== from.size) refuse('EINVAL', `it has ${to.size} bytes instead of ${from.size}`)
  if (from.growable && !to.growable) refuse('EINVAL', 'it cannot grow')
  if (from.readOnly || !to.readOnly) return
  if (from.users.size > 0 || edges.some(({ owner, kind }) => owner?.mayWrite && !kind.isBacking))
    refuse('EPERM', 'it is read-only')
}

/** Makes durable what a node and all nodes below it hold, each by itself: a node that was not written passes no flush on. */
async function flushAll(node: LinkedNode): Promise<void> {
  if (!node.readOnly) await node.flush()
  for (const edge of node.children.values()) await flushAll(edge.node)
}

/**
 * Lets `to` take the position of `from`: all parents of `from`, and the handles on it, use `to` from now on, except those
 * of `to` itself. Must run in {@link quiesced}. `from` stays open.
 *
 * @throws BlockError EINVAL, EPERM, EBUSY, errors of flushing: then everything is as before
 */
export async function exchange(from: LinkedNode, to: LinkedNode): Promise<void> {
  const edges = edgesToMove(from, to)
  requireFit(from, to, edges)
  // Flushes that follow go through `to`, whose nodes have not seen what was written so far, in whatever way.
  await flushAll(from)
  await flushAll(to)
  moveEdges([...edges, ...from.users], to)
}

/** Closes a node that neither a parent nor a handle uses any more. @throws errors of its shutdown */
export async function closeUnused(node: LinkedNode): Promise<void> {
  if (node.isUnused) await node.close()
}
