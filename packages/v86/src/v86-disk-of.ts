/** `v86Disk`: from a node, or the options of one, to a disk for v86. */
import {
  BlockError,
  type BlockNode,
  isBlockNode,
  type NodeOptions,
  type OpenEnvironment,
  openNode,
} from '@vmblock/block-core'
import { requireEnvironmentOption, requireSource } from './check-source.ts'
import { openSource, type SourceKit } from './open-source.ts'
import type { DiskSource } from './source.ts'
import { requireV86Options, V86Disk, type V86DiskOptions } from './v86-disk.ts'

/** {@link V86DiskOptions}, and what opening a node depends on. */
export interface V86OpenOptions extends V86DiskOptions {
  /** The drivers there are, and what an image may name. Needed to open a node; there is no default, and no global registry. */
  readonly environment?: OpenEnvironment
}

/**
 * A disk for v86: `new V86({ hda: await v86Disk(node) })`. A node that was given stays the caller's, one that is opened here is
 * closed with the disk.
 *
 * @param source an open node, or the options of one (with {@link V86OpenOptions.environment})
 * @throws BlockError of opening; EINVAL for a size that is not made of sectors; EFBIG from 2 TiB on
 */
export async function v86Disk(
  source: BlockNode | NodeOptions,
  options: V86OpenOptions = {},
): Promise<V86Disk> {
  requireV86Options(options, { environment: requireEnvironmentOption })
  requireSource(source)
  const { environment, ...settings } = options
  if (isBlockNode(source)) return new V86Disk(source, settings)
  if (!environment)
    throw new BlockError(
      'EINVAL',
      'no environment says which drivers there are: give one, or take v86Disk of @vmblock/v86/node or /browser',
    )
  return diskOfOwnNode(await openNode(environment, source), settings)
}

/** A disk that closes its node; if it cannot be made, the node is closed at once. @throws BlockError as {@link v86Disk} */
export async function diskOfOwnNode(node: BlockNode, options: V86DiskOptions): Promise<V86Disk> {
  try {
    return new V86Disk(node, { ownsNode: true, ...options })
  } catch (error) {
    await node.close().catch(() => undefined)
    throw error
  }
}

/**
 * A disk of whatever an entry understands.
 *
 * @throws BlockError of opening, and of making images; then nothing is left that was made for it
 */
export async function diskOfSource(
  kit: SourceKit,
  source: DiskSource,
  options: V86DiskOptions,
): Promise<V86Disk> {
  const { node, isOwn, undo } = await openSource(kit, source)
  try {
    return isOwn ? await diskOfOwnNode(node, options) : new V86Disk(node, options)
  } catch (error) {
    await undo()
    throw error
  }
}
