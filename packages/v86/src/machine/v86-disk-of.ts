/** `v86Disk`: makes a disk for v86 from a node, or from the options of one. */
import {
  BlockError,
  type BlockNode,
  isBlockNode,
  type NodeOptions,
  type OpenEnvironment,
  openNode,
} from '@vmblock/block-core'
import { expects, isPlain } from '@vmblock/block-core/driver'
import { openSource, type PreparedSource, requireSource } from '@vmblock/sources'
import { requireV86Options, V86Disk, type V86DiskOptions } from './v86-disk.ts'

/** {@link V86DiskOptions}, and the environment to open a node in. */
export interface V86OpenOptions extends V86DiskOptions {
  /** The drivers, and the `ImageResolver` of images. Needed to open a node: there is no global registry. */
  readonly environment?: OpenEnvironment
}

/** The environment that nodes are opened in. */
const requireEnvironmentOption = expects(
  '{ registry, host }',
  (value) => isPlain(value) && 'registry' in value && 'host' in value,
)

/**
 * Makes a disk for v86: `new V86({ hda: await v86Disk(node) })`. A node passed in stays the caller's; a node
 * opened here is closed with the disk.
 *
 * @param source an open node, or the options of one (with {@link V86OpenOptions.environment})
 * @throws BlockError of opening; EINVAL for a size that is not a multiple of the sector size; EFBIG from 2
 * TiB on
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

/** Makes a disk that owns its node, and closes the node if that fails. @throws as {@link v86Disk} */
export async function diskOfOwnNode(node: BlockNode, options: V86DiskOptions): Promise<V86Disk> {
  try {
    return new V86Disk(node, { ownsNode: true, ...options })
  } catch (error) {
    await node.close().catch(() => undefined)
    throw error
  }
}

/**
 * Makes a disk from any source that the entry supports.
 *
 * @throws BlockError of opening, and of creating images; then images created for it are removed
 */
export async function diskOfSource(
  { kit, source }: PreparedSource,
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
