/** Makes a new image on an open node: `qemu-img create` for programs. */

import { isPlain, wrongValue } from '../base/arguments.ts'
import { isZero, SECTOR } from '../base/bits.ts'
import { BlockError } from '../base/errors.ts'
import { storage } from '../contract/child-kinds.ts'
import type { AnyDriver, BlockDriver } from '../contract/driver.ts'
import type { BlockNode } from '../contract/node.ts'
import type { OpenEnvironment } from '../contract/open-environment.ts'
import { requireDriver } from '../contract/registry.ts'
import { skipFilters } from '../graph/block-status.ts'
import { GraphEdge } from '../graph/edge.ts'
import { isBlockNode, linkedNode } from '../graph/known-nodes.ts'
import type { Edge } from '../graph/links.ts'
import { requireNode } from '../graph/node-arguments.ts'
import { requireSole, updatePermissions } from '../graph/permissions.ts'
import { type OptionTable, parseOptions, type RawOptions } from '../text/options.ts'
import { resolveBackingFilename } from '../text/paths.ts'
import { openNode } from './open.ts'

/** How a node is formatted. */
export interface FormatChoices {
  /** Also format nodes that hold data, which is lost. Default false. */
  readonly overwrite?: boolean
}

/** Bytes per read, in the search for data. */
const PIECE = 2 ** 18

/** `clusterSize` as `qemu-img create -o` spells it: `cluster_size`. */
const snakeKey = (key: string): string => key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)

/** Options in the spelling of `qemu-img create -o`; undefined ones count as absent. */
export const spelledOptions = (options: RawOptions): RawOptions =>
  Object.fromEntries(
    Object.entries(options).flatMap(([key, value]) => (value === undefined ? [] : [[snakeKey(key), value]])),
  )

/**
 * Adds the options that follow from the backing file and were not given: its name, its format, its size.
 *
 * @param filename the name of the new image, which a relative name of a backing file is relative to
 * @throws BlockError of opening the backing file
 */
export async function withBacking(
  environment: OpenEnvironment | undefined,
  filename: string,
  { backing, ...given }: RawOptions,
): Promise<RawOptions> {
  if (isBlockNode(backing)) {
    const { driver, filename: name, size } = skipFilters(backing)
    const format = driver.kind === 'format' ? driver.name : 'raw'
    return { size, ...(name !== '' && { backing_file: name, backing_fmt: format }), ...given }
  }
  const { size, backing_file: name, backing_fmt: driver } = given
  if (size !== undefined || name === undefined || !environment) return given
  const node = await openNode(environment, {
    ...(driver !== undefined && { driver }),
    filename: resolveBackingFilename(filename, String(name)),
    'read-only': true,
    'force-share': true,
  })
  await node.close()
  return { size: node.size, ...given }
}

/**
 * Makes old content unrecognizable as an image: zeroes the first sector of a device, which cannot be emptied,
 * as QEMU does. To be called once the new image is known to fit, before anything of it is written.
 */
export async function forgetContent(file: BlockNode): Promise<void> {
  if (!file.growable) await file.writeZeroes(0, Math.min(SECTOR, file.size))
}

/**
 * Formats an open node that nothing else uses, and that is empty or reads as zeroes. Meanwhile no format can
 * be opened on it.
 *
 * @param options as for `qemu-img create -o`, in its spelling or in camelCase; sizes in bytes or with
 *   suffixes. For an overlay, `size` defaults to that of `backing`, an open node, or of the image that
 *   `backingFile` names, relative to `file`
 * @param dataFile another such node, if the options ask for an external data file
 * @throws BlockError ENOTSUP if the driver cannot create images; EIO if its code for that cannot be loaded;
 *   EINVAL that names a wrong option; any error of opening the backing file; EBUSY if a node, or its file by
 *   any name, is open elsewhere; EEXIST if a node holds data, and {@link FormatChoices.overwrite} was not
 *   given. In all these cases nothing has been written
 */
export async function formatImage<O extends OptionTable, C extends OptionTable>(
  driver: BlockDriver<O, C> | AnyDriver,
  file: BlockNode,
  options: RawOptions,
  dataFile?: BlockNode,
  { overwrite }: FormatChoices = {},
): Promise<void> {
  requireDriver(driver)
  requireNode(file, 'file')
  if (!isPlain(options)) throw wrongValue('options', 'a plain object', options)
  if (dataFile !== undefined) requireNode(dataFile, 'dataFile')
  const creation = await (driver as AnyDriver).creation?.()
  if (!creation)
    throw new BlockError('ENOTSUP', `Format driver '${driver.name}' does not support image creation`)
  const spelled = spelledOptions(options)
  const whole =
    'backing_file' in creation.options
      ? await withBacking(linkedNode(file).origin?.environment, file.filename, spelled)
      : spelled
  const values = parseOptions(creation.options, whole)
  const nodes = (dataFile ? [file, dataFile] : [file]).map(linkedNode)
  const edges: Edge[] = []
  try {
    // Stands for the new image: a parent that writes, and is the only one.
    for (const node of nodes) {
      const opening = { driver: driver as AnyDriver, readOnly: false, forceShare: false }
      const edge = new GraphEdge('file', storage, `(new ${driver.name})`, node, opening)
      requireSole(node)
      node.parents.add(edge)
      edges.push(edge)
    }
    updatePermissions(nodes)
    if (!overwrite) for (const node of nodes) await requireBlank(node)
    await creation.create({ file, dataFile, options: values })
  } finally {
    for (const edge of edges) await edge.node.releasedBy(edge)
  }
}

/** @throws BlockError EEXIST if the node holds anything but zeroes */
export async function requireBlank(node: BlockNode): Promise<void> {
  const { size } = node
  for (let offset = 0; offset < size; ) {
    const { bytes, zero } = await node.blockStatus(offset, size - offset)
    const piece = new Uint8Array(zero ? 0 : Math.min(bytes, PIECE, size - offset))
    await node.read(offset, piece)
    if (!isZero(piece))
      throw new BlockError(
        'EEXIST',
        `'${node.filename || node.name}' holds data, and { overwrite: true } was not given`,
        { node: node.name },
      )
    offset += piece.length || bytes
  }
}
