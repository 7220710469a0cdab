/** `create`: creates a new image, with the steps and messages of QEMU's `bdrv_img_create`. */
import { isBlockError, messageOf, openNode } from '@vmblock/block-core'
import { resolveBackingFilename } from '@vmblock/block-core/driver'
import { Failure, fileWord, flag, formatWord, shared, usageFailure } from '@vmblock/cli'
import { creationHelp, makeImage, type NewImage, planImage } from '../images/new-image.ts'
import { filesOfChain, findSame, identityOfName } from '../images/same-file.ts'
import { type Call, defineCommand } from '../kit/command.ts'
import { runWhole } from '../kit/job.ts'
import { asksForHelp, optionList, shownOptions } from '../kit/option-list.ts'
import { requireSize } from '../kit/size-text.ts'

const options = {
  quiet: shared.quiet,
  format: formatWord('fmt', { short: 'f', newer: ['format'], help: 'the format of the new image (raw)' }),
  backing: fileWord('backing_file', {
    short: 'b',
    newer: ['backing'],
    help: 'make an overlay of this backing file, which must not change any more',
  }),
  backingFormat: formatWord('backing_fmt', {
    short: 'F',
    newer: ['B', 'backing-format'],
    help: 'the format of the backing file (-F before QEMU 10.1, -B since)',
  }),
  unsafe: flag({
    short: 'u',
    newer: ['backing-unsafe'],
    help: 'do not look whether the backing file is there; the size must be given then',
  }),
  list: optionList,
} as const

type CreateCall = Call<typeof options>

/** The subcommand. */
export const create = defineCommand({
  name: 'create',
  summary: 'make a new image',
  details: [
    'A new disk reads as zeroes, an overlay as its backing file. A file that is there is overwritten.',
  ],
  operandHelp: {
    filename: 'the image to make',
    size: 'of the disk: bytes, or larger units with k, M, G, T, P or E; an overlay may leave it out',
  },
  example: 'create -f qcow2 disk.qcow2 20G',
  options,
  operands: 'filename [size]',
  run,
})

async function run(call: CreateCall): Promise<number> {
  const { options, operands, output } = call
  const [filename, sizeText, ...more] = operands
  const formatName = options.format ?? 'raw'
  if (options.list !== undefined && asksForHelp(options.list)) {
    output.print(await creationHelp(call.services, formatName, filename))
    return 0
  }
  if (filename === undefined) throw usageFailure('Expecting image file name')
  const size = sizeText === undefined ? undefined : requireSize('image size', sizeText, output.warn)
  if (more.length > 0) throw usageFailure(`Unexpected argument: ${more[0]}`)
  try {
    await createImage(call, filename, formatName, size)
  } catch (error) {
    if (!(error instanceof Failure)) throw new Failure(`${filename}: ${messageOf(error)}`)
    const [first, ...rest] = error.lines
    // An interrupt explains itself.
    if (first === undefined) throw error
    throw new Failure([`${filename}: ${first}`, ...rest], error.options)
  }
  return 0
}

async function createImage(
  call: CreateCall,
  filename: string,
  formatName: string,
  size: bigint | undefined,
): Promise<void> {
  const { options, output, environment, services } = call
  const { list, backing, backingFormat } = options
  const request = { filename, format: formatName, list, backing, backingFormat }
  const plan = await planImage(services, request, output.warn)
  const { given, table, format } = plan
  if (size !== undefined) {
    if (given.has('size')) throw new Failure('The image size must be specified only once')
    given.set('size', { text: String(size), number: size })
  }
  const length = await sizeOf(call, plan)
  await refuseOwnFiles(call, plan)
  given.set('size', { text: String(length), number: length })
  if (!options.quiet) {
    output.print(`Formatting '${filename}', fmt=${formatName}${shownOptions(table, given)}\n`)
    output.flush()
  }
  const hint = 'cluster_size' in table ? ' (try using a larger cluster size)' : ''
  const tooLarge = new Failure(`The image size is too large for file format '${format.name}'${hint}`)
  if (!Number.isSafeInteger(Number(length))) throw tooLarge
  try {
    await runWhole(
      call,
      () => makeImage(environment, plan),
      (created) => created.remove(),
    )
  } catch (error) {
    throw isBlockError(error, 'EFBIG') ? tooLarge : error
  }
}

/** Refuses to empty files that the new image needs, under any name. @throws Failure */
async function refuseOwnFiles({ environment }: CreateCall, { filename, given }: NewImage): Promise<void> {
  const backing = given.get('backing_file')?.text
  const data = given.get('data_file')?.text
  const full = backing === undefined ? undefined : resolveBackingFilename(filename, backing)
  if (full !== undefined) {
    const files = await filesOfChain(environment, full, given.get('backing_fmt')?.text)
    const same = await findSame(environment, [filename, data], files)
    if (same?.name === filename && same.called === full)
      throw new Failure('Error: Trying to create an image with the same filename as the backing file')
    if (same)
      throw new Failure(
        `Error: Trying to create '${same.name}' over '${same.called}', which the backing file '${backing}' needs`,
      )
  }
  if (data === undefined) return
  const identity = await identityOfName(environment, filename)
  const isSame =
    identity === undefined ? data === filename : identity === (await identityOfName(environment, data))
  if (isSame) throw new Failure('Error: Trying to create an image with the same filename as its data file')
}

/** The size of the new image: as given, or that of the backing file, which must open unless `-u` is given. */
async function sizeOf({ options, environment }: CreateCall, { filename, given }: NewImage): Promise<bigint> {
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
    // Only the size is needed: for that an encrypted image needs no key.
    'no-io': true,
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
