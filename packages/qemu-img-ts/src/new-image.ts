/** Making a new image, as `create` and `convert` do it: which options there are, and the file that is made and formatted. */
import {
  type AnyDriver,
  BlockError,
  type BlockNode,
  type CreatedPlace,
  filenameToOptions,
  isBlockError,
  type OpenEnvironment,
  type OptionTable,
  openNode,
  parseOptions,
  type RawOptions,
} from '@vmblock/block-core'
import type { Services } from './command.ts'
import { type GivenOption, optionHelp, optionValue, readOptionList, type Warn } from './option-list.ts'
import { Failure } from './output.ts'

/** What a command line says of a new image. */
export interface NewImageRequest {
  readonly filename: string
  /** The name of its format. */
  readonly format: string
  /** The lists of `-o`. */
  readonly list?: string | undefined
  /** Backing file and its format, where they have options of their own. */
  readonly backing?: string | undefined
  readonly backingFormat?: string | undefined
}

/** A new image: where it goes, in which format, and with which options. */
export interface NewImage {
  readonly filename: string
  readonly format: AnyDriver
  /** Options of the format, and of the protocol below it. */
  readonly table: OptionTable
  readonly given: Map<string, GivenOption>
}

/** The text of `-o help`. @throws Failure */
export function creationHelp(services: Services, formatName: string, filename: string | undefined): string {
  const format = findFormat(services, formatName)
  if (filename === undefined)
    return (
      `Supported ${formatName} options:\n${optionHelp(ownOptions(format))}\n` +
      'The protocol level may support further options.\nSpecify the target filename to include those options.\n'
    )
  return `Supported options:\n${optionHelp(tableOf(format, findMaker(services, filename)))}`
}

function findFormat({ registry }: Services, name: string): AnyDriver {
  const format = registry.find(name)
  if (!format) throw new Failure(`Unknown file format '${name}'`)
  if (!format.createOptions) throw new Failure(`Format driver '${name}' does not support image creation`)
  return format
}

/** Options of a format, without those that it hands on to the place below. */
const ownOptions = ({ createOptions }: AnyDriver): OptionTable =>
  Object.fromEntries(Object.entries(createOptions ?? {}).filter(([, { isForPlace }]) => !isForPlace))

/** Options of a format, then those of the place below; what both have is the format's. */
const tableOf = (format: AnyDriver, protocol: AnyDriver): OptionTable => ({
  ...ownOptions(format),
  ...protocol.placeOptions,
  ...ownOptions(format),
})

/** The protocol that makes a file of that name. @throws Failure */
function findMaker(services: Services, filename: string): AnyDriver {
  const protocol = findProtocol(services, filename)
  if (!protocol.createPlace)
    throw new Failure(`Protocol driver '${protocol.name}' does not support image creation`)
  return protocol
}

function findProtocol({ registry }: Services, filename: string): AnyDriver {
  // A new image goes where a name says; what a tree of options stands for exists already.
  if (filename.startsWith('json:')) throw new Failure(`Unknown protocol 'json'`)
  return registry.get(String(filenameToOptions(registry, filename)['driver']))
}

/** Reads the options of a new image. @throws Failure, BlockError */
export function planImage(services: Services, request: NewImageRequest, warn: Warn): NewImage {
  const { filename, format: formatName, backing, backingFormat } = request
  if (!services.registry.find(formatName)) throw new Failure(`Unknown file format '${formatName}'`)
  findProtocol(services, filename)
  const format = findFormat(services, formatName)
  const table = tableOf(format, findMaker(services, filename))
  const given = readOptionList(request.list ?? '', table, warn)
  const setOldStyle = (name: string, text: string | undefined, what: string): void => {
    if (text === undefined) return
    if (!Object.hasOwn(table, name))
      throw new Failure(`${what} not supported for file format '${formatName}'`)
    given.set(name, { text })
  }
  setOldStyle('backing_file', backing, 'Backing file')
  setOldStyle('backing_fmt', backingFormat, 'Backing file format')
  return { filename, format, table, given }
}

/** Takes back what was made: of a file that was there before, nothing. */
export type Undo = () => Promise<void>

/**
 * Makes the file, and formats it. Options are judged before anything is made or emptied. What could not be formatted is deleted, as
 * QEMU does, but no file that was there before, which QEMU deletes too.
 *
 * @returns takes it back, once it is closed, for a caller who cannot use it
 * @throws BlockError
 */
export async function makeImage(
  environment: OpenEnvironment,
  { filename, format, given }: NewImage,
): Promise<Undo> {
  // What the format takes is its own; what is left is for the place.
  const [own, forPlace]: Record<string, unknown>[] = [{}, {}]
  for (const [name, option] of given)
    (name in format.createOptions! ? own : forPlace)![name] = optionValue(option)
  const options = parseOptions(format.createOptions!, own!)
  if (!format.create)
    throw new BlockError('ENOTSUP', `Format driver '${format.name}' does not support image creation`)
  const dataFilename = given.get('data_file')?.text
  await format.checkCreate?.(options)
  const made: (CreatedPlace | undefined)[] = []
  const nodes: BlockNode[] = []
  const undo = async (): Promise<void> => {
    for (const place of made.splice(0)) await place?.remove().catch(() => undefined)
  }
  const makeFile = async (name: string): Promise<BlockNode> => {
    const place = filenameToOptions(environment.registry, name)
    made.push(await createPlace(environment.registry.get(String(place['driver'])), place, forPlace!))
    const node = await openNode(environment, place)
    nodes.push(node)
    return node
  }
  try {
    // Neither is emptied while the other is in use, and an image that is there comes last, when nothing else can fail but
    // to fill it.
    const dataFirst = dataFilename !== undefined && (await requireFree(environment, filename))
    if (dataFilename !== undefined) await requireFree(environment, dataFilename)
    let dataFile = dataFirst ? await makeFile(dataFilename) : undefined
    const file = await makeFile(filename)
    if (dataFilename !== undefined) dataFile ??= await makeFile(dataFilename)
    await format.create({ file, dataFile, options })
    for (const node of nodes.splice(0)) await node.close()
    return undo
  } catch (error) {
    for (const node of nodes) await node.close().catch(() => undefined)
    await undo()
    throw error
  }
}

/** Asks whether a file may be written to. @returns whether it is there @throws BlockError EBUSY */
async function requireFree(environment: OpenEnvironment, name: string): Promise<boolean> {
  try {
    await (await openNode(environment, filenameToOptions(environment.registry, name))).close()
    return true
  } catch (error) {
    if (isBlockError(error, 'ENOENT')) return false
    throw error
  }
}

async function createPlace(
  protocol: AnyDriver,
  { driver: _, ...place }: RawOptions,
  placeOptions: RawOptions,
): Promise<CreatedPlace | undefined> {
  if (!protocol.createPlace)
    throw new BlockError('ENOTSUP', `Protocol driver '${protocol.name}' does not support image creation`)
  const options = parseOptions(protocol.options ?? {}, place)
  return protocol.createPlace(options, 0, 'off', parseOptions(protocol.placeOptions ?? {}, placeOptions))
}
