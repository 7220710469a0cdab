/** Dirty bitmaps of an image, as applications use them: which parts of the disk were written since a point in time. */
import { requireFlag, requireOptions, requirePositive, requireText } from '../base/arguments.ts'
import { BlockError } from '../base/errors.ts'
import type { BitmapInfo, BitmapOps, DirtyRange, NewBitmap, RecordedChanges } from '../contract/bitmaps.ts'
import type { BlockNode } from '../contract/node.ts'
import { skipFilters } from '../graph/block-status.ts'
import { linkedNode } from '../graph/known-nodes.ts'
import type { LinkedNode } from '../graph/links.ts'
import { requireNode } from '../graph/node-arguments.ts'
import { unsupportedError } from '../graph/node-errors.ts'

/**
 * The bitmaps of one image. They are saved when the image is closed, or becomes read-only; a bitmap that was in use when
 * the process died is inconsistent, and can only be removed.
 *
 * Methods that take the name of a bitmap throw BlockError ENOENT if there is none of that name, and EINVAL if it is
 * inconsistent.
 */
export interface Bitmaps {
  /** Whether the image can keep bitmaps: not every format can, nor every version. */
  isSupported(): Promise<boolean>
  /** All bitmaps, in the order of the image's directory. */
  list(): Promise<readonly BitmapInfo[]>
  /** Adds a bitmap, which records writes from now on. @throws BlockError EINVAL, in QEMU's words */
  add(name: string, options?: NewBitmap): Promise<void>
  /** Removes a bitmap, which may be inconsistent. */
  remove(name: string): Promise<void>
  /** Forgets everything that a bitmap has recorded. */
  clear(name: string): Promise<void>
  /** Records writes from now on. */
  enable(name: string): Promise<void>
  /** Records no more writes. */
  disable(name: string): Promise<void>
  /**
   * Adds to a bitmap what another one has, `source` of the same image, or of `from`.
   *
   * @throws BlockError EINVAL if the disks differ in size
   */
  merge(name: string, source: string, from?: BlockNode): Promise<void>
  /**
   * What a bitmap has recorded: ranges in bytes, in order, that do not touch each other. Blocks are dirty as a whole,
   * so a range may be longer than what was written; none is missing.
   */
  dirtyRanges(name: string): Promise<readonly DirtyRange[]>
}

const NOTHING: RecordedChanges = { size: 0, ranges: () => [] }

const NEW_BITMAP = { granularity: requirePositive, disabled: requireFlag }

/**
 * The dirty bitmaps of a node, or of the format below the filters on it. Changing them waits until no request is in
 * flight, and holds new ones back meanwhile.
 *
 * @throws BlockError EINVAL for something that is no node. Methods of the result: ENOTSUP if the format keeps none;
 *   EPERM to change something in a read-only node; ENOMEDIUM when closed
 */
export function bitmapsOf(node: BlockNode): Bitmaps {
  requireNode(node, 'node')
  const change = (name: unknown, run: (ops: BitmapOps) => Promise<void>): Promise<void> =>
    checked(name, () =>
      formatOf(node).exclusive('bitmaps', undefined, async (ops) => run(await ops.bitmaps!())),
    )
  const read = <T>(of: BlockNode, run: (ops: BitmapOps) => Promise<T>): Promise<T> => {
    const format = formatOf(of)
    return format.counted(0, 0, async () => {
      if (!format.ops.bitmaps) throw unsupportedError(of, 'bitmaps')
      return run(await format.ops.bitmaps())
    })
  }
  return {
    isSupported: async () =>
      formatOf(node).ops.bitmaps !== undefined && (await read(node, async (ops) => ops.isSupported)),
    list: () => read(node, (ops) => ops.list()),
    add: async (name, options = {}) => {
      requireOptions(options, 'options', NEW_BITMAP)
      await change(name, (ops) => ops.add(name, options))
    },
    remove: (name) => change(name, (ops) => ops.remove(name)),
    clear: (name) => change(name, (ops) => ops.clear(name)),
    enable: (name) => change(name, (ops) => ops.setEnabled(name, true)),
    disable: (name) => change(name, (ops) => ops.setEnabled(name, false)),
    merge: async (name, source, from = node) => {
      requireText(source, 'source')
      requireNode(from, 'from')
      requireText(name, 'name')
      // In QEMU's order: both have to exist, then the target is looked at, then the source.
      const target = await read(node, (ops) => find(ops, name))
      await read(from, (ops) => find(ops, source))
      const bits = target.inconsistent ? NOTHING : await read(from, (ops) => ops.read(source))
      await change(name, (ops) => ops.merge(name, bits))
    },
    dirtyRanges: (name) =>
      checked(name, () => read(node, async (ops) => [...(await ops.read(name)).ranges()])),
  }
}

/** @throws BlockError ENOENT */
async function find(ops: BitmapOps, name: string): Promise<BitmapInfo> {
  const found = (await ops.list()).find((bitmap) => bitmap.name === name)
  if (!found) throw new BlockError('ENOENT', `Dirty bitmap '${name}' not found`)
  return found
}

/** The node itself, or the first one below it that is no filter. */
const formatOf = (node: BlockNode): LinkedNode => linkedNode(skipFilters(node))

/** Runs something with the name of a bitmap. @throws BlockError EINVAL */
async function checked<T>(name: unknown, run: () => Promise<T>): Promise<T> {
  requireText(name, 'name')
  return run()
}
