/**
 * Rules for sharing a disk: never two writers at a time, and no writer beside a format that keeps tables of
 * the disk in memory. A small part of QEMU's permissions, with its rules and its words: formats share reading
 * only, raw shares everything, filters want what the nodes above them want. One rule is stricter than QEMU's:
 * two nodes of one file never both write, whatever is above them.
 *
 * Nothing is recorded that would have to be undone: the users of a node are read off the graph, and nodes of
 * the same file are known by the identity that their drivers report (`place`), for the whole process and all
 * copies of this library in it.
 */

import { BlockError } from '../base/errors.ts'
import { shared } from '../base/shared-state.ts'
import type { BlockNode } from '../contract/node.ts'
import { linkedNode } from './known-nodes.ts'
import type { Edge, LinkedNode } from './links.ts'
import { requireNode } from './node-arguments.ts'
import { looks } from './parent-edges.ts'

/** What a user does with a disk, and allows others to do. */
interface Use {
  readonly writes: boolean
  readonly sharesWrites: boolean
}

const READS_ALONE: Use = { writes: false, sharesWrites: false }

/** Open nodes by file identity. */
const places = shared('places', () => new Map<string, Set<LinkedNode>>())
/** Of those, the nodes that may write, or once could. A use that only reads needs to check no others. */
const writers = shared('writers', () => new Map<string, Set<LinkedNode>>())
/** Nodes whose users rely on what they read. */
const unshared = shared('unshared', () => new WeakSet<LinkedNode>())
/** Nodes that are about to be reopened for writing. */
const gaining = shared('gaining', () => new Set<LinkedNode>())

/** Whether a node may write, or is about to be allowed to. */
export const writes = (node: LinkedNode): boolean => !node.readOnly || gaining.has(node)

/** QEMU's rule. It applies to the parents of one node: the user shares that node on purpose. */
const conflict = (a: Use, b: Use): boolean => (a.writes && !b.sharesWrites) || (b.writes && !a.sharesWrites)

/** The rule for different nodes of one file. */
const placesConflict = (a: Use, b: Use): boolean => (a.writes && b.writes) || conflict(a, b)

/** The use that the parent, and everything above it, makes of an edge; undefined: none that matters. */
function useOf(edge: Edge): Use | undefined {
  const { owner, opening, role } = edge
  if (role === 'backing' || role === 'log' || opening?.forceShare) return undefined
  const driver = owner?.driver ?? opening?.driver
  if (!driver) return undefined
  const isWriter = owner ? writes(owner) : opening?.readOnly === false
  if (driver.kind !== 'filter' && !driver.sharesFile) return { writes: isWriter, sharesWrites: false }
  const above = owner ? usesOf(owner) : []
  if (driver.kind === 'filter' && above.length === 0) return undefined
  return { writes: isWriter, sharesWrites: above.every((use) => use.sharesWrites) }
}

const usesOf = (node: LinkedNode): Use[] => [
  ...[...node.parents].flatMap((edge) => useOf(edge) ?? []),
  ...(unshared.has(node) ? [READS_ALONE] : []),
]

/** What a node does with its file, for itself and everything above it. */
const useOfPlace = (node: LinkedNode): Use => ({
  writes: writes(node),
  sharesWrites: usesOf(node).every((use) => use.sharesWrites),
})

/** Finds the node below filters and drivers that share their file: conflicts are checked there. */
function meetingPoint(edge: Edge, node: LinkedNode): [own: Edge, bottom: LinkedNode] {
  let [own, bottom] = [edge, node]
  while (bottom.file && (bottom.driver.kind === 'filter' || bottom.driver.sharesFile))
    [own, bottom] = [bottom.file, bottom.file.node]
  return [own, bottom]
}

/**
 * Checks whether a parent may use the node below `edge`, or `node` in its stead.
 *
 * @throws BlockError EBUSY
 */
export function requireUse(edge: Edge, node = edge.node): void {
  const wanted = useOf(edge)
  if (!wanted) return
  const [own, bottom] = meetingPoint(edge, node)
  // No request writes through a node that is read-only.
  const isQuiet = !wanted.writes && (wanted.sharesWrites || !writes(bottom))
  for (const other of isQuiet ? [] : bottom.parents) {
    looks.edges++
    const use = other === own ? undefined : useOf(other)
    if (use && conflict(wanted, use)) throw parentsConflict(bottom, wanted, own, other)
  }
  requireShared(bottom, wanted)
}

/**
 * Checks whether the content of a node may be replaced: no other parent may have the node open, not even for
 * reading, unless it tolerates writers (`force-share`).
 *
 * @throws BlockError EBUSY
 */
export function requireSole(edge: Edge): void {
  const { node } = edge
  for (const other of node.parents)
    if (other !== edge && !other.opening?.forceShare)
      throw new BlockError('EBUSY', `node '${node.name}' is in use by node '${other.parent}'`, {
        node: node.name,
      })
  requireUse(edge)
  // Also if this node does not lock its file (`locking=off`).
  const [, bottom] = meetingPoint(edge, node)
  for (const other of places.get(bottom.ops.place ?? '') ?? [])
    if (other !== bottom) throw placeConflict('"write"', bottom.filename, other)
}

/**
 * Checks whether a node may use its file, and registers the node under the file's identity until it is
 * closed.
 *
 * @throws BlockError EBUSY
 */
export function enterPlace(node: LinkedNode): void {
  const { place, sharesPlace } = node.ops
  if (place === undefined || sharesPlace) return
  requireShared(node, { writes: !node.readOnly, sharesWrites: true })
  enter(places, place, node)
  if (!node.readOnly) enter(writers, place, node)
}

function enter(table: Map<string, Set<LinkedNode>>, place: string, node: LinkedNode): void {
  const nodes = table.get(place) ?? new Set()
  if (nodes.has(node)) return
  table.set(place, nodes.add(node))
  node.once('close', () => {
    nodes.delete(node)
    if (nodes.size === 0 && table.get(place) === nodes) table.delete(place)
  })
}

/**
 * Until the node is closed, no new writer may open what is below it, because its user relies on the content:
 * the source of a copy (QEMU's BDRV_O_NO_SHARE).
 */
export function unshareWrites(node: BlockNode): void {
  requireNode(node, 'node')
  unshared.add(linkedNode(node))
}

/** Checks whether the file with identity `place` may be emptied or made anew. @throws BlockError EBUSY */
export function requireUnused(place: string, filename: string): void {
  for (const other of places.get(place) ?? [])
    if (placesConflict({ writes: true, sharesWrites: true }, useOfPlace(other)))
      throw placeConflict('"write"', filename, other)
}

/**
 * Checks whether nodes may become writable, and reserves the right for them.
 *
 * @returns a function that ends the reservation
 * @throws BlockError EBUSY
 */
export function gainWriting(nodes: readonly LinkedNode[]): () => void {
  for (const node of nodes) {
    gaining.add(node)
    const { place } = node.ops
    if (place !== undefined && places.get(place)?.has(node)) enter(writers, place, node)
  }
  const end = (): void => {
    for (const node of nodes) gaining.delete(node)
  }
  try {
    for (const node of nodes) {
      requireShared(node, { writes: true, sharesWrites: true })
      for (const edge of node.children.values()) requireUse(edge)
    }
  } catch (error) {
    end()
    throw error
  }
  return end
}

/** Checks a use against the other nodes of the same file. @throws BlockError EBUSY */
function requireShared(node: LinkedNode, wanted: Use): void {
  const { place, sharesPlace } = node.ops
  if (place === undefined || sharesPlace || (!wanted.writes && wanted.sharesWrites)) return
  for (const other of (wanted.writes ? places : writers).get(place) ?? []) {
    looks.edges++
    if (other === node) continue
    const use = useOfPlace(other)
    if (!placesConflict(wanted, use)) continue
    const isOurs = wanted.writes && (use.writes || !use.sharesWrites)
    throw placeConflict(isOurs ? '"write"' : 'shared "write"', node.filename, other)
  }
}

/** In the words of QEMU's `file` driver, which scripts compare; the cause names the other node. */
function placeConflict(lock: string, filename: string, other: LinkedNode): BlockError {
  const how = writes(other) ? 'writing' : 'reading'
  return new BlockError(
    'EBUSY',
    `Failed to get ${lock} lock\nIs another process using the image [${filename}]?`,
    {
      cause: new BlockError(
        'EBUSY',
        `${other.name.startsWith('#') ? 'a node' : `node '${other.name}'`} of this process has it open for ${how}, as '${other.filename}'`,
        { node: other.name },
      ),
    },
  )
}

function parentsConflict(node: LinkedNode, wanted: Use, edge: Edge, other: Edge): BlockError {
  const [writer, sharer] = wanted.writes ? [edge, other] : [other, edge]
  const describe = ({ parent, role }: Edge): string =>
    `by node '${parent}' (uses node '${node.name}' as '${role}' child)`
  return new BlockError(
    'EBUSY',
    `Permission conflict on node '${node.name}': permissions 'write, resize' are both required ` +
      `${describe(writer)} and unshared ${describe(sharer)}.`,
    { node: node.name },
  )
}
