/** `create`: makes a new image, in the steps and with the words of QEMU's `bdrv_img_create`. */
import {
  type AnyDriver,
  BlockError,
  filenameToOptions,
  isBlockError,
  messageOf,
  type OptionTable,
  type OptionValues,
  openNode,
  parseOptions,
  type RawOptions,
  resolveBackingFilename,
} from '@vmblock/block-core'
import { type Call, defineCommand, flag, type Services, shared, word } from '../command.ts'
import {
  asksForHelp,
  type GivenOption,
  optionHelp,
  optionList,
  optionValue,
  readOptionList,
  shownOptions,
} from '../option-list.ts'
import { Failure, usageFailure } from '../output.ts'
import { requireSize } from '../size-text.ts'

const options = {
  quiet: shared.quiet,
  format: shared.shortFormat,
  backing: word('backing_file', { short: 'b' }),
  backingFormat: word('backing_fmt', { short: 'F' }),
  unsafe: flag({ short: 'u' }),
  list: optionList,
} as const

type CreateCall = Call<typeof options>

/** The subcommand. */
export const create = defineCommand({
  name: 'create',
  summary: 'make a new image',
  options,
  operands: 'filename [size]',
  run,
})

/** A new image: where it goes, in which format, and with which options. */
interface Plan {
  readonly filename: string
  readonly format: AnyDriver
  readonly protocol: AnyDriver
  /** Options of the format, and of the protocol below it. */
  readonly table: OptionTable
  readonly given: Map<string, GivenOption>
}

async function run(call: CreateCall): Promise<number> {
  const { options, operands, output } = call
  const [filename, sizeText, ...more] = operands
  const formatName = options.format ?? 'raw'
  if (options.list !== undefined && asksForHelp(options.list)) {
    output.print(helpText(call.services, formatName, filename))
    return 0
  }
  if (filename === undefined) throw usageFailure('Expecting image file name')
  const size = sizeText === undefined ? undefined : requireSize('image size', sizeText, output)
  if (more.length > 0) throw usageFailure(`Unexpected argument: ${more[0]}`)
  try {
    await createImage(call, filename, formatName, size)
  } catch (error) {
    if (!(error instanceof Failure)) throw new Failure(`${filename}: ${messageOf(error)}`)
    const { lines, status, hint, closed } = error
    const [first, ...rest] = lines
    throw new Failure([`${filename}: ${first}`, ...rest], {
      status,
      closed,
      ...(hint !== undefined && { hint }),
    })
  }
  return 0
}

/** The text of `-o help`. @throws Failure */
function helpText(services: Services, formatName: string, filename: string | undefined): string {
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
  ...format.createOptions,
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

async function createImage(
  call: CreateCall,
  filename: string,
  formatName: string,
  size: bigint | undefined,
): Promise<void> {
  const { options, output } = call
  const plan = planImage(call, filename, formatName, size)
  const { given, table, format } = plan
  const length = await sizeOf(call, plan)
  given.set('size', { text: String(length), number: length })
  if (!options.quiet)
    output.printNow(`Formatting '${filename}', fmt=${formatName}${shownOptions(table, given)}\n`)
  const hint = 'cluster_size' in table ? ' (try using a larger cluster size)' : ''
  const tooLarge = new Failure(`The image size is too large for file format '${format.name}'${hint}`)
  if (!Number.isSafeInteger(Number(length))) throw tooLarge
  // What the format takes is its own; what is left is for the place.
  const [own, forPlace]: Record<string, unknown>[] = [{}, {}]
  for (const [name, option] of given)
    (name in format.createOptions! ? own : forPlace)![name] = optionValue(option)
  const typed = parseOptions(format.createOptions!, own!)
  try {
    await writeImage(call, plan, typed, forPlace!)
  } catch (error) {
    throw isBlockError(error, 'EFBIG') ? tooLarge : error
  }
}

/** Reads the options. @throws Failure */
function planImage(call: CreateCall, filename: string, formatName: string, size: bigint | undefined): Plan {
  const { options, output, services } = call
  const known = services.registry.find(formatName)
  if (!known) throw new Failure(`Unknown file format '${formatName}'`)
  findProtocol(services, filename)
  const format = findFormat(services, formatName)
  const protocol = findMaker(services, filename)
  const table = tableOf(format, protocol)
  const given = readOptionList(options.list ?? '', table, (line) => output.warn(line))
  if (size !== undefined) {
    if (given.has('size')) throw new Failure('The image size must be specified only once')
    given.set('size', { text: String(size), number: size })
  }
  setOldStyle(
    given,
    table,
    'backing_file',
    options.backing,
    `Backing file not supported for file format '${formatName}'`,
  )
  setOldStyle(
    given,
    table,
    'backing_fmt',
    options.backingFormat,
    `Backing file format not supported for file format '${formatName}'`,
  )
  return { filename, format, protocol, table, given }
}

function setOldStyle(
  given: Map<string, GivenOption>,
  table: OptionTable,
  name: string,
  text: string | undefined,
  refusal: string,
): void {
  if (text === undefined) return
  if (!Object.hasOwn(table, name)) throw new Failure(refusal)
  given.set(name, { text })
}

/** The size of the new image: what was given, or that of the backing file, which must open unless `-u` was given. */
async function sizeOf({ options, environment }: CreateCall, { filename, given }: Plan): Promise<bigint> {
  const size = given.get('size')?.number
  const backing = given.get('backing_file')?.text
  const backingFormat = given.get('backing_fmt')?.text
  if (backing === filename)
    throw new Failure('Error: Trying to create an image with the same filename as the backing file')
  if (backing === '') throw new Failure('Expected backing file name, got empty string')
  if (backing !== undefined && options.unsafe && backingFormat === undefined)
    throw new Failure('Backing file specified without backing format')
  if (backing === undefined || options.unsafe) {
    if (size === undefined) throw new Failure('Image creation needs a size parameter')
    return size
  }
  const full = resolveBackingFilename(filename, backing)
  const node = await openNode(environment, {
    ...(backingFormat !== undefined && { driver: backingFormat }),
    filename: full,
    'read-only': true,
    'force-share': true,
  }).catch((error: unknown) => {
    throw new Failure(messageOf(error), { hint: 'Could not open backing image.' })
  })
  try {
    if (backingFormat === undefined)
      throw new Failure('Backing file specified without backing format', {
        hint: `Detected format of ${node.driver.name}.`,
        closed: false,
      })
    return size ?? BigInt(node.size)
  } finally {
    await node.close()
  }
}

/** Makes the file, and formats it. What could not be formatted is deleted, as QEMU does. */
async function writeImage(
  call: CreateCall,
  { filename, format, given }: Plan,
  options: OptionValues<OptionTable>,
  placeOptions: RawOptions,
): Promise<void> {
  const { environment, services } = call
  if (!format.create)
    throw new BlockError('ENOTSUP', `Format driver '${format.name}' does not support image creation`)
  const dataFilename = given.get('data_file')?.text
  const made: string[] = []
  const nodes: Awaited<ReturnType<typeof openNode>>[] = []
  const makeFile = async (name: string) => {
    const place = filenameToOptions(environment.registry, name)
    await createPlace(environment.registry.get(String(place['driver'])), place, placeOptions)
    made.push(name)
    const node = await openNode(environment, place)
    nodes.push(node)
    return node
  }
  try {
    const file = await makeFile(filename)
    const dataFile = dataFilename === undefined ? undefined : await makeFile(dataFilename)
    await format.create({ file, dataFile, options })
    for (const node of nodes.splice(0)) await node.close()
  } catch (error) {
    for (const node of nodes) await node.close().catch(() => undefined)
    for (const name of made) await services.removeFile?.(name).catch(() => undefined)
    throw error
  }
}

async function createPlace(
  protocol: AnyDriver,
  { driver: _, ...place }: RawOptions,
  placeOptions: RawOptions,
): Promise<void> {
  if (!protocol.createPlace)
    throw new BlockError('ENOTSUP', `Protocol driver '${protocol.name}' does not support image creation`)
  const options = parseOptions(protocol.options ?? {}, place)
  await protocol.createPlace(options, 0, 'off', parseOptions(protocol.placeOptions ?? {}, placeOptions))
}
