/** Opens what an operation works on: any source, or a disk that is open already. */

import { closedError, isPlain } from '@vmblock/block-core/driver'
import {
  BlockError,
  type BlockNode,
  isBlockNode,
  type NodeOptions,
  type OpenEnvironment,
  openNode,
} from '@vmblock/block-core/open'
import {
  type DiskSource,
  type ImageSource,
  openSource,
  requireSource,
  type SourceSettings,
} from '@vmblock/sources'
import type { Platform } from '../platform/platform.ts'

/** How a source is opened. */
export interface Opening {
  readonly settings: SourceSettings
  readonly format?: string | undefined
  readonly readOnly?: boolean | undefined
  /** Options that name the keys of the image. */
  readonly keys?: NodeOptions
  /** What the source is called in messages. Default: `source`. */
  readonly what?: string
  /**
   * Options of the node for one operation on the image alone. Then no image is created, and an overlay is opened without
   * its base.
   */
  readonly extra?: NodeOptions
}

/** An open node, and whether it was opened for the operation at hand. */
export interface OpenedNode {
  readonly node: BlockNode
  readonly isOwn: boolean
  readonly environment: OpenEnvironment
}

/** The node of an open disk or node; undefined for what is to be opened. @throws BlockError ENOMEDIUM if it is closed */
export function openNodeOf(value: unknown): BlockNode | undefined {
  const { node = value, isOpen } = (value ?? {}) as { readonly node?: unknown; readonly isOpen?: unknown }
  if (!isBlockNode(node)) return undefined
  if (isOpen === false) throw closedError(node, false)
  return node
}

/** The options of a node, from the source that holds them. */
export const optionsOf = (value: unknown): NodeOptions | undefined =>
  isPlain(value) && isPlain(value['node']) ? value['node'] : undefined

/**
 * Opens a source. An open disk is used as it is; an open node that is no more than bytes is the file of an image.
 *
 * @throws BlockError EINVAL for what is no source, and for another `format` than that of an open disk; ENOTSUP for a
 *   source of another platform; ENOMEDIUM for a closed disk; any error of opening
 */
export async function openOriginal(
  { prepareSource }: Platform,
  given: unknown,
  { settings, format, readOnly, what = 'source', extra, keys }: Opening,
): Promise<OpenedNode> {
  const { kit, source } = await prepareSource(openNodeOf(given) ?? optionsOf(given) ?? given, settings)
  const { environment } = kit
  requireSource(source, what)
  if (format !== undefined) requireDriver(environment, format, 'format')
  if (isBlockNode(source) && source.driver.kind !== 'protocol') {
    requireFormat(format, source.driver.name, 'open disk')
    return { node: source, isOwn: false, environment }
  }
  const own = {
    ...(format !== undefined && { driver: format }),
    ...(readOnly !== undefined && { readOnly }),
    ...keys,
    ...extra,
  }
  const opened = async (options: NodeOptions): Promise<OpenedNode> => ({
    node: await openNode(environment, options),
    isOwn: true,
    environment,
  })
  if (isBlockNode(source))
    return opened({ discard: 'unmap', readOnly: source.readOnly, ...own, file: source })
  if ('driver' in source) {
    requireFormat(format, (source as NodeOptions)['driver'], 'node')
    return opened({ ...source, ...own })
  }
  const image = ('overlay' in source ? source.overlay : source) as ImageSource | 'memory'
  if (extra && image !== 'memory') {
    const file = kit.fileOf(image)
    return opened({ ...own, ...(readOnly === undefined && { readOnly: file.readOnly }), file: file.bytes })
  }
  if ('overlay' in source) {
    requireFormat(format, kit.imageDriver.name, 'overlay')
    const more = { ...(readOnly !== undefined && { 'read-only': readOnly }), ...keys }
    return { node: (await openSource(kit, source, more)).node, isOwn: true, environment }
  }
  const more = { ...(format !== undefined && { format }), ...(readOnly !== undefined && { readOnly }) }
  const { node } = await openSource(kit, { ...source, ...more } as DiskSource, keys)
  return { node, isOwn: true, environment }
}

/** @throws BlockError EINVAL that names the option, for a format that there is not */
export function requireDriver({ registry }: OpenEnvironment, format: string, what: string): void {
  if (registry.find(format)?.kind !== 'format')
    throw new BlockError('EINVAL', `Parameter '${what}' is '${format}', and no format has that name`)
}

/** @throws BlockError EINVAL */
function requireFormat(format: string | undefined, driver: unknown, what: string): void {
  if (format !== undefined && format !== driver)
    throw new BlockError('EINVAL', `Parameter 'format' is '${format}', and the ${what} is of '${driver}'`)
}

/** Closes what was opened for an operation. */
export async function closeOwn(opened: OpenedNode | undefined): Promise<void> {
  if (opened?.isOwn) await opened.node.close()
}
