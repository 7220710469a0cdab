/** Writes an overlay's content down into a backing file, like `qemu-img commit`. */
import { requireFlag, requireOptions, requireRate } from '../base/arguments.ts'
import { BlockError } from '../base/errors.ts'
import { type JobControl, UNCONTROLLED } from '../contract/job-control.ts'
import type { BlockNode } from '../contract/node.ts'
import { ALL_PERMISSIONS, PERMISSION } from '../contract/permissions.ts'
import { backingOf, skipFilters } from '../graph/block-status.ts'
import { linkedNode } from '../graph/known-nodes.ts'
import { requireControl, requireNode } from '../graph/node-arguments.ts'
import { useNode } from '../graph/permissions.ts'
import { reopenNode } from '../open/reopen.ts'
import { copyNodes } from './copy.ts'
import { CopyMap } from './copy-map.ts'
import { emptyCommitted } from './empty-committed.ts'

/** What to commit, and how. */
export interface CommitOptions {
  /** The layer that takes the content; default: the immediate backing file. */
  readonly base?: BlockNode | undefined
  /**
   * Whether the top is emptied afterwards; only done when `base` is its immediate backing file. Default true.
   */
  readonly makeEmpty?: boolean | undefined
  /** Most bytes per second; default: no limit. */
  readonly rate?: number | undefined
}

const COMMIT = { base: requireNode, makeEmpty: requireFlag, rate: requireRate }

/** Bytes in one copy. */
const PIECE = 1024 * 1024

/**
 * Copies the content of the layers above `base` into `base`, which is writable meanwhile and grows if it is
 * smaller than `top`, and then empties `top`, if its format allows it. Writes to `top` wait meanwhile. Progress is in
 * bytes.
 *
 * @param control that of the job which this is part of
 * @throws BlockError EINVAL if there is no backing file, or `base` is not in the backing chain; any error of
 *   reading, writing or reopening; the reason for a cancellation: then `base` has some of the content, which does no
 *   harm, and `top` still has all of it
 */
export async function commitNode(
  top: BlockNode,
  options: CommitOptions = {},
  control: JobControl = UNCONTROLLED,
): Promise<void> {
  requireNode(top, 'top')
  requireOptions(options, 'options', COMMIT)
  requireControl(control, 'control')
  const { base, edge } = findBase(top, options.base)
  // Data written to the top while it is copied would be lost when it is emptied.
  await top.withoutWrites(() => commitInto(top, { base, edge }, options, control))
}

async function commitInto(
  top: BlockNode,
  { base, edge }: Base,
  { rate, makeEmpty = true }: CommitOptions,
  control: JobControl,
): Promise<void> {
  const restore = base.readOnly ? await makeWritable(base) : undefined
  try {
    await growTo(base, top.size)
    const map = await CopyMap.of({ sources: [{ node: top, base: edge }], hasBeneath: true })
    await copyNodes({ map, target: base, rate, pieceBytes: PIECE, outOfOrder: true }, control)
    await base.flush()
  } finally {
    await restore?.()
  }
  await control.checkpoint()
  if (makeEmpty && base === backing(top)) await emptyCommitted(top)
}

/**
 * Lets the commit write to a base that belongs to the nodes above it, which only read. Others must not resize it.
 *
 * @returns makes it read-only again
 */
async function makeWritable(base: BlockNode): Promise<() => Promise<void>> {
  const release = useNode(linkedNode(base), {
    taken: PERMISSION.write,
    shared: ALL_PERMISSIONS & ~PERMISSION.resize,
  })
  try {
    await reopenNode(base, { readOnly: false })
  } catch (error) {
    release()
    throw error
  }
  return async () => {
    try {
      if (base.isOpen) await reopenNode(base, { readOnly: true })
    } finally {
      release()
    }
  }
}

/** The next layer below, without the filters on it. */
function backing(node: BlockNode): BlockNode | undefined {
  const below = backingOf(node)
  return below && skipFilters(below)
}

/** A layer of a chain: the node itself, and the node on top of it in the chain, which may be a filter. */
interface Base {
  readonly base: BlockNode
  readonly edge: BlockNode
}

function findBase(top: BlockNode, wanted: BlockNode | undefined): Base {
  const first = backingOf(top)
  if (!first) throw new BlockError('EINVAL', 'Image does not have a backing file', { node: top.name })
  const base = skipFilters(wanted ?? first)
  for (let edge: BlockNode | undefined = first; edge; edge = backingOf(edge)) {
    if (skipFilters(edge) === base) return { base, edge }
  }
  throw new BlockError(
    'EINVAL',
    `Did not find '${wanted?.filename}' in the backing chain of '${top.filename}'`,
  )
}

async function growTo(base: BlockNode, size: number): Promise<void> {
  if (base.size >= size) return
  // The backing file of a base that was too short must not show through where readers of the top saw zeroes.
  const zero = (backing(base)?.size ?? 0) > base.size
  await base.truncate(size, zero ? { zero } : {})
}
