/** Creating a new image for `create` and `convert`: its options, and creating and formatting the file. */
import {
  type AnyDriver,
  BlockError,
  type BlockNode,
  type CreatedFile,
  isBlockError,
  type OpenEnvironment,
  openNode,
  type RawOptions,
} from '@vmblock/block-core'
import { type Creation, type OptionTable, parseOptions } from '@vmblock/block-core/driver'
import { Failure, filenameToOptions, type Warn } from '@vmblock/cli'
import type { Services } from '../kit/command.ts'
import { type GivenOption, optionHelp, optionValue, readOptionList } from '../kit/option-list.ts'

/** The request for a new image on a command line. */
export interface NewImageRequest {
  readonly filename: string
  /** The name of its format. */
  readonly format: string
  /** The lists of `-o`. */
  readonly list?: string | undefined
  /** Backing file and its format, if given by their own options. */
  readonly backing?: string | undefined
  readonly backingFormat?: string | undefined
}

/** A new image: its file name, format and options. */
export interface NewImage {
  readonly filename: string
  readonly format: AnyDriver
  readonly creation: Creation
  /** Options of the format, and of the protocol below it. */
  readonly table: OptionTable
  readonly given: Map<string, GivenOption>
}

/** The text of `-o help`. @throws Failure */
export async function creationHelp(
  services: Services,
  formatName: string,
  filename: string | undefined,
): Promise<string> {
  const creation = await creationOf(findFormat(services, formatName))
  if (filename === undefined)
    return (
      `Supported ${formatName} options:\n${optionHelp(ownOptions(creation))}\n` +
      'The protocol level may support further options.\nSpecify the target filename to include those options.\n'
    )
  return `Supported options:\n${optionHelp(tableOf(creation, findMaker(services, filename)))}`
}

function findFormat({ registry }: Services, name: string): AnyDriver {
  const format = registry.find(name)
  if (!format) throw new Failure(`Unknown file format '${name}'`)
  return format
}

/** How a format makes images. @throws Failure if it cannot */
async function creationOf(format: AnyDriver): Promise<Creation> {
  const creation = await format.creation?.()
  if (!creation) throw new Failure(`Format driver '${format.name}' does not support image creation`)
  return creation
}

/** Options of a format, without those that it passes on to the protocol below. */
const ownOptions = ({ options }: Creation): OptionTable =>
  Object.fromEntries(Object.entries(options).filter(([, { isForFile }]) => !isForFile))

/** Options of a format, then those of the protocol below; of equal names, the format's wins. */
const tableOf = (creation: Creation, protocol: AnyDriver): OptionTable => ({
  ...ownOptions(creation),
  ...protocol.createFileOptions,
  ...ownOptions(creation),
})

/** The protocol that creates a file of that name. @throws Failure */
function findMaker(services: Services, filename: string): AnyDriver {
  const protocol = findProtocol(services, filename)
  if (!protocol.createFile)
    throw new Failure(`Protocol driver '${protocol.name}' does not support image creation`)
  return protocol
}

function findProtocol({ registry }: Services, filename: string): AnyDriver {
  // Only a name can say where to create an image; a tree of options describes an existing one.
  if (filename.startsWith('json:')) throw new Failure(`Unknown protocol 'json'`)
  return registry.get(String(filenameToOptions(registry, filename)['driver']))
}

/** Reads the options of a new image. @throws Failure, BlockError */
export async function planImage(services: Services, request: NewImageRequest, warn: Warn): Promise<NewImage> {
  const { filename, format: formatName, backing, backingFormat } = request
  const format = findFormat(services, formatName)
  findProtocol(services, filename)
  const creation = await creationOf(format)
  const table = tableOf(creation, findMaker(services, filename))
  const given = readOptionList(request.list ?? '', table, warn)
  const setOldStyle = (name: string, text: string | undefined, what: string): void => {
    if (text === undefined) return
    if (!Object.hasOwn(table, name))
      throw new Failure(`${what} not supported for file format '${formatName}'`)
    given.set(name, { text })
  }
  setOldStyle('backing_file', backing, 'Backing file')
  setOldStyle('backing_fmt', backingFormat, 'Backing file format')
  return { filename, format, creation, table, given }
}

/** Removes the created files, but none that existed before. */
export type Undo = () => Promise<void>

/**
 * Creates the file, and formats it. Options are checked before anything is created or emptied. If formatting
 * fails, the file is deleted, as in QEMU; but unlike in QEMU, not if it existed before.
 *
 * @returns a function that removes the image, after it was closed, for a caller that cannot use it
 * @throws BlockError
 */
export async function makeImage(
  environment: OpenEnvironment,
  { filename, creation, given }: NewImage,
): Promise<Undo> {
  // Options that the format does not know are for the protocol.
  const [own, forFile]: Record<string, unknown>[] = [{}, {}]
  for (const [name, option] of given) (name in creation.options ? own : forFile)![name] = optionValue(option)
  const options = parseOptions(creation.options, own!)
  const dataFilename = given.get('data_file')?.text
  await creation.check?.(options)
  const made: (CreatedFile | undefined)[] = []
  const nodes: BlockNode[] = []
  const undo = async (): Promise<void> => {
    for (const file of made.splice(0)) await file?.remove().catch(() => undefined)
  }
  const makeFile = async (name: string): Promise<BlockNode> => {
    const named = filenameToOptions(environment.registry, name)
    made.push(await createFile(environment.registry.get(String(named['driver'])), named, forFile!))
    const node = await openNode(environment, named)
    nodes.push(node)
    return node
  }
  try {
    // Neither file is emptied while the other is in use, and an existing image is emptied last, when only
    // formatting it can still fail.
    const dataFirst = dataFilename !== undefined && (await requireFree(environment, filename))
    if (dataFilename !== undefined) await requireFree(environment, dataFilename)
    let dataFile = dataFirst ? await makeFile(dataFilename) : undefined
    const file = await makeFile(filename)
    if (dataFilename !== undefined) dataFile ??= await makeFile(dataFilename)
    await creation.create({ file, dataFile, options })
    for (const node of nodes.splice(0)) await node.close()
    return undo
  } catch (error) {
    for (const node of nodes) await node.close().catch(() => undefined)
    await undo()
    throw error
  }
}

/** Checks that a file, if any, opens for writing. @returns whether it exists @throws BlockError EBUSY */
async function requireFree(environment: OpenEnvironment, name: string): Promise<boolean> {
  try {
    await (await openNode(environment, filenameToOptions(environment.registry, name))).close()
    return true
  } catch (error) {
    if (isBlockError(error, 'ENOENT')) return false
    throw error
  }
}

async function createFile(
  protocol: AnyDriver,
  { driver: _, ...given }: RawOptions,
  createOptions: RawOptions,
): Promise<CreatedFile | undefined> {
  if (!protocol.createFile)
    throw new BlockError('ENOTSUP', `Protocol driver '${protocol.name}' does not support image creation`)
  const options = parseOptions(protocol.options ?? {}, given)
  return protocol.createFile(options, 0, 'off', parseOptions(protocol.createFileOptions ?? {}, createOptions))
}
