/** Creating a new image for `create` and `convert`: its options, and creating and formatting the file. */
import {
  type AnyDriver,
  type BlockNode,
  type CreatedFile,
  createImage,
  type OpenEnvironment,
  type RawOptions,
  skipFilters,
} from '@vmblock/block-core'
import type { Creation, OptionTable } from '@vmblock/block-core/driver'
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

/**
 * Creates the file, and formats it. Options are checked before anything is created or emptied. If formatting
 * fails, the file is deleted, as in QEMU; but unlike in QEMU, it is only emptied if it existed before.
 *
 * @returns the means to take the image back, after it was closed, for a caller that cannot use it
 * @throws BlockError
 */
export function makeImage(
  environment: OpenEnvironment,
  { filename, format, given }: NewImage,
): Promise<CreatedFile> {
  const options = Object.fromEntries([...given].map(([name, option]) => [name, optionValue(option)]))
  const dataFilename = given.get('data_file')?.text
  const fileOf = (name: string): RawOptions => filenameToOptions(environment.registry, name)
  return createImage(environment, {
    ...options,
    driver: format,
    file: fileOf(filename),
    ...(dataFilename !== undefined && { dataFile: fileOf(dataFilename) }),
    overwrite: true,
    // As sparse as QEMU's.
    draft: false,
  })
}

/** Whether a new image reads as zeroes: a file begins empty, a device keeps its old content; what is all encrypted is noise. */
export function isZeroWhenNew(node: BlockNode): boolean {
  const { driver, file } = skipFilters(node)
  if (file?.kind.shows) return isZeroWhenNew(file.node)
  return driver.kind === 'format' ? !driver.isNoiseWhenNew : node.growable
}
