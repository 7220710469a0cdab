/** `createImage`: a new image and the files it needs, by one call. */
import { isPlain, requireFlag, wrongValue } from '../base/arguments.ts'
import { BlockError, isBlockError } from '../base/errors.ts'
import type { AnyDriver, CreatedFile } from '../contract/driver.ts'
import type { CreateImageOptions, DriverCreateImageOptions } from '../contract/node-options.ts'
import type { OpenEnvironment } from '../contract/open-environment.ts'
import { requireDriver } from '../contract/registry.ts'
import { openMemory } from '../drivers/memory.ts'
import { requireEnvironment, secretOf } from '../graph/environment.ts'
import { isBlockNode } from '../graph/known-nodes.ts'
import { spelledAs } from '../text/option-tree.ts'
import { keyOfTable, type OptionTable, type RawOptions } from '../text/options.ts'
import {
  backingDescriber,
  creationValues,
  type FormatChoices,
  formatImage,
  givenOptions,
  keepsData,
} from './format-image.ts'
import { ImageFile } from './image-file.ts'

/** The largest image that is made in memory first, in bytes. */
const LARGEST_DRAFT = 2 ** 26

/**
 * Makes an image: its file, unless that is an open node, and the format in it; everything is flushed, and what was
 * opened here is closed. A file that exists, and that is empty or reads as zeroes, is used. Options are checked before
 * anything is made.
 *
 * If it fails, the files that were made are removed, and those that were emptied stay empty; an open node is left as
 * `formatImage` leaves it.
 *
 * @returns the means to take the image back: `remove()` removes the files that were made, and empties those that
 *   existed before, open nodes among them, unless they are devices
 * @throws BlockError EINVAL that names a wrong option; ENOENT for an unknown driver; ENOTSUP if the format cannot make
 *   images, or the protocol files; EEXIST if a file holds data, and `overwrite` was not given; EBUSY if it is in use,
 *   here or elsewhere; EIO if code of the format cannot be loaded; any error of making, opening and writing the files
 */
export function createImage<D extends AnyDriver>(
  environment: OpenEnvironment<D>,
  options: CreateImageOptions<D>,
): Promise<CreatedFile>
/** The same with the format as a value, as may be the protocol. */
export function createImage<D extends AnyDriver, V extends AnyDriver, F extends AnyDriver = never>(
  environment: OpenEnvironment<D>,
  options: DriverCreateImageOptions<V, D, F>,
): Promise<CreatedFile>
export async function createImage(environment: OpenEnvironment, request: RawOptions): Promise<CreatedFile> {
  requireEnvironment(environment)
  if (!isPlain(request)) throw wrongValue('options', 'a plain object', request)
  try {
    return await create(environment, request)
  } catch (error) {
    if (isBlockError(error)) error.message = spelledAs(request, error.message)
    throw error
  }
}

async function create(environment: OpenEnvironment, request: RawOptions): Promise<CreatedFile> {
  const { driver: format, file: fileSource, dataFile: dataSource, ...more } = request
  const {
    overwrite = false,
    draft = true,
    ...creationOptions
  } = more as {
    readonly overwrite?: boolean
    readonly draft?: boolean
    readonly backing?: unknown
  }
  requireFlag(overwrite, 'overwrite')
  requireFlag(draft, 'draft')
  const { backing } = creationOptions
  if (backing !== undefined && !isBlockNode(backing)) throw wrongValue('backing', 'a BlockNode', backing)
  const driver = driverOf(environment, format)
  const creation = await driver.creation?.()
  if (!creation)
    throw new BlockError('ENOTSUP', `Format driver '${driver.name}' does not support image creation`)
  const table = creation.options
  const file = new ImageFile(environment, fileSource, 'file')
  const dataFile = dataSource === undefined ? undefined : new ImageFile(environment, dataSource, 'dataFile')
  const [own, forFile] = splitOptions(givenOptions(creationOptions), table, file)
  const values = await creationValues(environment, file.filename, table, own)
  const dataName = values['data_file'] ?? dataFile?.filename
  const options = { ...values, ...(dataName !== '' && { data_file: dataName }) }
  await creation.check?.(options)
  if (keepsData(values)) dataFile?.keep()
  const secret = (id: string): Promise<Uint8Array> => secretOf(environment, id)
  const describeBacking = backingDescriber(environment, file.filename, creationOptions, values)
  const choices: FormatChoices = {
    overwrite,
    secret,
    filename: file.filename,
    ...(describeBacking && { describeBacking }),
  }
  const names = creation.furtherFiles?.(options, file.filename) ?? []
  const further = names.map((name) => file.beside(name))
  const isSmall =
    draft &&
    file.isOwn &&
    !dataFile &&
    further.length === 0 &&
    ['off', undefined].includes(values['preallocation'] as string)
  const content = isSmall ? await draftOf(driver, options, choices) : undefined
  const files = [file, ...further, ...(dataFile ? [dataFile] : [])]
  const remove = async (): Promise<void> => {
    for (const each of files) await each.remove()
  }
  try {
    // Neither file is emptied while the other is in use, and an existing image is emptied last, when only formatting
    // it can still fail.
    if (files.length > 1 || !overwrite) for (const each of files) await each.look(overwrite)
    for (const each of file.exists ? [...files].reverse() : files) await each.make(forFile)
    if (content && file.node.growable) await file.node.write(0, content)
    else
      await formatImage(driver, file.node, options, dataFile?.node, {
        ...choices,
        further: further.map(({ node }) => node),
      })
    for (const each of files) await each.finish()
  } catch (error) {
    // Closing would try failed writes again.
    for (const each of files) await each.abandon().catch(() => undefined)
    throw error
  }
  return { remove }
}

/** @throws BlockError ENOENT for an unknown name; EINVAL for what is no driver */
function driverOf({ registry }: OpenEnvironment, driver: unknown): AnyDriver {
  if (typeof driver === 'string') return registry.get(driver)
  requireDriver(driver, 'driver')
  return driver as AnyDriver
}

/** Options that the format does not know are for the protocol, if it knows them. */
function splitOptions(
  options: RawOptions,
  table: OptionTable,
  { createOptions }: ImageFile,
): readonly [own: RawOptions, forFile: RawOptions] {
  const isForFile = (key: string): boolean =>
    keyOfTable(table, key) === undefined && keyOfTable(createOptions, key) !== undefined
  const entries = Object.entries(options)
  return [
    Object.fromEntries(entries.filter(([key]) => !isForFile(key))),
    Object.fromEntries(entries.filter(([key]) => isForFile(key))),
  ]
}

/** The bytes of a new image; undefined if it is large, or has none but zeroes. */
async function draftOf(
  driver: AnyDriver,
  options: RawOptions,
  choices: FormatChoices,
): Promise<Uint8Array | undefined> {
  const draft = openMemory(new Uint8Array(0))
  await formatImage(driver, draft, options, undefined, choices)
  const { size } = draft
  if (size === 0 || size > LARGEST_DRAFT) return undefined
  const { bytes, zero } = await draft.blockStatus(0, size)
  if (zero && bytes === size) return undefined
  const content = new Uint8Array(size)
  await draft.read(0, content)
  return content
}
