/** Makes a new image on an open node: `qemu-img create` for programs. */

import {
  expects,
  isPlain,
  requireCallback,
  requireFlag,
  requireOptions,
  requireText,
  wrongValue,
} from '../base/arguments.ts'
import { isZero, SECTOR } from '../base/bits.ts'
import { BlockError } from '../base/errors.ts'
import { storage } from '../contract/child-kinds.ts'
import type { CreateContext } from '../contract/creation.ts'
import type { AnyDriver } from '../contract/driver.ts'
import type { BlockNode } from '../contract/node.ts'
import type { CreationOptions } from '../contract/node-options.ts'
import type { OpenEnvironment } from '../contract/open-environment.ts'
import { requireDriver } from '../contract/registry.ts'
import { skipFilters } from '../graph/block-status.ts'
import { childrenOf } from '../graph/child-options.ts'
import { GraphEdge } from '../graph/edge.ts'
import { secretOf } from '../graph/environment.ts'
import { isBlockNode, linkedNode } from '../graph/known-nodes.ts'
import type { Edge } from '../graph/links.ts'
import { requireNode } from '../graph/node-arguments.ts'
import { requireSole, updatePermissions } from '../graph/permissions.ts'
import { flattenOptions } from '../text/option-tree.ts'
import { type OptionTable, parseOptions, type RawOptions } from '../text/options.ts'
import { resolveBackingFilename } from '../text/paths.ts'
import { openNode } from './open.ts'

/** How a node is formatted. */
export interface FormatChoices {
  /** Also format nodes that hold data, which is lost. Default false. */
  readonly overwrite?: boolean
  /** The bytes of secrets that the options name by id. Default: those of the environment with which `file` was opened. */
  readonly secret?: OpenEnvironment['secret']
  /** The name of the image. Default: that of `file`. */
  readonly filename?: string
  /** Open nodes for the further files of the image, formatted with it: see `Creation.furtherFiles`. */
  readonly further?: readonly BlockNode[]
  /** Describes the backing file. Default: it is opened in the environment with which `file` was opened. */
  readonly describeBacking?: CreateContext<unknown>['describeBacking']
}

/** Bytes per read, in the search for data. */
const PIECE = 2 ** 18

/** The options that are given, groups of them under dotted keys (`encrypt.format`), as they are spelled. */
export const givenOptions = (options: RawOptions): RawOptions => Object.fromEntries(flattenOptions(options))

/**
 * Parses creation options, and adds those that follow from the backing file and were not given: its name, its format,
 * its size.
 *
 * @param filename the name of the new image, which a relative name of a backing file is relative to
 * @throws BlockError EINVAL that names a wrong option; any error of opening the backing file
 */
export async function creationValues(
  environment: OpenEnvironment | undefined,
  filename: string,
  table: OptionTable,
  options: RawOptions,
): Promise<RawOptions> {
  const { backing, ...own } = givenOptions(options)
  const values: RawOptions = parseOptions(table, 'backing_file' in table ? own : { backing, ...own })
  const { size, backing_file: name, backing_fmt: format } = values
  if (isBlockNode(backing)) {
    const { driver, filename: backingName, size: bytes } = skipFilters(backing)
    const named = {
      backing_file: name ?? backingName,
      backing_fmt: format ?? (driver.kind === 'format' ? driver.name : 'raw'),
    }
    return { ...values, size: size ?? bytes, ...(backingName !== '' && named) }
  }
  if (size !== undefined || name === undefined || !environment) return values
  const node = await openBacking(environment, filename, name, format)
  await node.close()
  return { ...values, size: node.size }
}

/** Opens the backing file of a new image, to learn something of it. */
const openBacking = (
  environment: OpenEnvironment,
  filename: string,
  name: unknown,
  format: unknown,
): Promise<BlockNode> =>
  openNode(environment, {
    driver: format as string | undefined,
    filename: resolveBackingFilename(filename, String(name)),
    readOnly: true,
    forceShare: true,
    // An encrypted one needs no key for that.
    noIo: true,
  })

/** Makes {@link CreateContext.describeBacking}, from options before and after {@link creationValues}. */
export function backingDescriber(
  environment: OpenEnvironment | undefined,
  filename: string,
  { backing }: RawOptions,
  { backing_file: name, backing_fmt: format }: RawOptions,
): CreateContext<unknown>['describeBacking'] {
  const given = isBlockNode(backing) ? skipFilters(backing) : undefined
  if (!given && (name === undefined || !environment)) return undefined
  return async () => {
    const node = given ?? (await openBacking(environment!, filename, name, format))
    try {
      return { driver: node.driver.name, info: await node.info() }
    } finally {
      if (!given) await node.close()
    }
  }
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
export async function formatImage<D extends AnyDriver>(
  driver: D,
  file: BlockNode,
  options: CreationOptions<D>,
  dataFile?: BlockNode,
  choices: FormatChoices = {},
): Promise<void> {
  requireDriver(driver, 'driver')
  requireNode(file, 'file')
  if (!isPlain(options)) throw wrongValue('options', 'a plain object', options)
  if (dataFile !== undefined) requireNode(dataFile, 'dataFile')
  requireOptions(choices, 'choices', {
    overwrite: requireFlag,
    secret: requireCallback,
    describeBacking: requireCallback,
    filename: requireText,
    further: expects('a list of open nodes', (nodes) => Array.isArray(nodes) && nodes.every(isBlockNode)),
  })
  const creation = await driver.creation?.()
  if (!creation)
    throw new BlockError('ENOTSUP', `Format driver '${driver.name}' does not support image creation`)
  const { environment } = linkedNode(file).origin ?? {}
  const values = await creationValues(environment, file.filename, creation.options, options)
  const { further = [], filename = file.filename } = choices
  const describeBacking =
    choices.describeBacking ?? backingDescriber(environment, file.filename, options, values)
  // The data file comes last: it may keep its content.
  const nodes = [file, ...further, ...(dataFile ? [dataFile] : [])].map(linkedNode)
  const edges: Edge[] = []
  try {
    // Stands for the new image: a parent that writes, and is the only one. A program that overwrites what is there does so
    // as QEMU's, which lets other processes use a raw file meanwhile.
    const kind = choices.overwrite ? childrenOf(driver)['file']! : storage
    for (const node of nodes) {
      const opening = { driver, readOnly: false, forceShare: false }
      const edge = new GraphEdge('file', kind, `(new ${driver.name})`, node, opening)
      requireSole(node)
      node.parents.add(edge)
      edges.push(edge)
    }
    updatePermissions(nodes)
    // What is not to be emptied.
    if (keepsData(values)) nodes.splice(1 + further.length)
    if (!choices.overwrite) for (const node of nodes) await requireBlank(node)
    const secret = choices.secret ?? ((id: string) => secretOf(environment, id))
    await creation.create({ file, filename, dataFile, further, options: values, describeBacking, secret })
  } finally {
    for (const edge of edges) await edge.node.releasedBy(edge)
  }
}

/** Whether creation options say that the data file is there, and keeps its content. */
export const keepsData = (values: RawOptions): boolean => !!values['keep_data_file']

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
