/** Opens what an operation works on: any source, or a disk that is open already. */
import {
  BlockError,
  type BlockNode,
  isBlockNode,
  type NodeOptions,
  type OpenEnvironment,
  openNode,
} from '@vmblock/block-core'
import { closedError } from '@vmblock/block-core/driver'
import { type DiskSource, type ImageSource, openSource, requireSource } from '@vmblock/sources'
import { kitOf, type Platform } from '../platform/platform.ts'

/** How a source is opened. */
export interface Opening {
  readonly format?: string | undefined
  readonly readOnly?: boolean | undefined
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
}

/** The node of an open disk or node; undefined for what is to be opened. @throws BlockError ENOMEDIUM if it is closed */
export function openNodeOf(value: unknown): BlockNode | undefined {
  const { node = value, isOpen } = (value ?? {}) as { readonly node?: unknown; readonly isOpen?: unknown }
  if (!isBlockNode(node)) return undefined
  if (isOpen === false) throw closedError(node, false)
  return node
}

/**
 * Opens a source. An open disk is used as it is; an open node that is no more than bytes is the file of an image.
 *
 * @throws BlockError EINVAL for what is no source, and for another `format` than that of an open disk; ENOTSUP for a
 *   source of another platform; ENOMEDIUM for a closed disk; any error of opening
 */
export async function openOriginal(
  platform: Platform,
  environment: OpenEnvironment,
  source: unknown,
  { format, readOnly, extra }: Opening,
): Promise<OpenedNode> {
  const open = openNodeOf(source)
  if (open && open.driver.kind !== 'protocol') {
    requireFormat(format, open.driver.name, 'open disk')
    return { node: open, isOwn: false }
  }
  const own = {
    ...(format !== undefined && { driver: format }),
    ...(readOnly !== undefined && { readOnly }),
    ...extra,
  }
  const opened = async (options: NodeOptions): Promise<OpenedNode> => ({
    node: await openNode(environment, options),
    isOwn: true,
  })
  const held = open ? { bytes: open, readOnly: open.readOnly } : await platform.handleOf(source)
  if (held) return opened({ discard: 'unmap', readOnly: held.readOnly, ...own, file: held.bytes })
  const plain = platform.writeOut(source) as Readonly<Record<string, unknown>>
  requireSource(plain)
  if ('driver' in plain) {
    requireFormat(format, plain['driver'], 'node')
    return opened({ ...plain, ...own })
  }
  const image = (plain['overlay'] ?? plain) as ImageSource | 'memory'
  if (extra && image !== 'memory') {
    const file = platform.fileOf(environment, image)
    return opened({ ...own, ...(readOnly === undefined && { readOnly: file.readOnly }), file: file.bytes })
  }
  const more = { ...(format !== undefined && { format }), ...(readOnly !== undefined && { readOnly }) }
  const whole = ('overlay' in plain ? plain : { ...plain, ...more }) as unknown as DiskSource
  return { node: (await openSource(kitOf(platform, environment), whole)).node, isOwn: true }
}

/** @throws BlockError EINVAL */
function requireFormat(format: string | undefined, driver: unknown, what: string): void {
  if (format !== undefined && format !== driver)
    throw new BlockError('EINVAL', `Parameter 'format' is '${format}', and the ${what} is of '${driver}'`)
}
