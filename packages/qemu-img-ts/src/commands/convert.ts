/** `convert`: copies disks, one after the other, into a new or existing image. */
import {
  type BlockNode,
  backingOf,
  bitmapsOf,
  CopyMap,
  type CreatedFile,
  messageOf,
  openNode,
  PERMISSION,
  setPermissions,
} from '@vmblock/block-core'
import {
  beneathOf,
  differences,
  guessFormat,
  readInteger,
  resolveBackingFilename,
  SECTOR,
} from '@vmblock/block-core/driver'
import { equalBytes } from '@vmblock/block-core/node'
import { cacheWord, Failure, fileWord, flag, formatWord, type OptionKind, shared } from '@vmblock/cli'
import { bitmapsToCopy, copyBitmaps } from '../images/copy-bitmaps.ts'
import { copyDisk, warnOf } from '../images/copy-disk.ts'
import { exactBytes, type ImageRequest, openBriefly, openImage, requireCacheMode } from '../images/image.ts'
import { creationHelp, isZeroWhenNew, makeImage, type NewImage, planImage } from '../images/new-image.ts'
import { type Files, filesOf, filesOfChain, findSame } from '../images/same-file.ts'
import { openSnapshot, snapshotParam } from '../images/snapshot-param.ts'
import { type Call, defineCommand } from '../kit/command.ts'
import { INTERRUPTED } from '../kit/job.ts'
import { asksForHelp, optionList } from '../kit/option-list.ts'
import { type Progress, startProgress } from '../kit/progress.ts'
import { requireSize } from '../kit/size-text.ts'

const { consistentRead, writeUnchanged } = PERMISSION

/** Percent by which progress must move to be shown. */
const MIN_SKIP = 1
/** Default for the shortest run of zeroes that is left out, in bytes. */
const MIN_SPARSE = 4096
/** The largest value of `-S`, in bytes. QEMU's MAX_BUF_SECTORS. */
const MAX_SPARSE = 16 * 1024 * 1024
const MAX_PARALLEL = 16
const NO_COMPRESSION = 'Compression not supported for this file format'

const sparse: OptionKind<number> = {
  short: 'S',
  newer: ['sparse-size'],
  argument: 'sparse_size',
  help: 'leave out runs of zeroes of so many bytes and more (4k); 0 writes all of them',
  read(text, warn) {
    const bytes = Number(requireSize('buffer size for sparse output', text, warn))
    if (bytes % SECTOR === 0 && bytes <= MAX_SPARSE) return bytes
    throw new Failure(
      `Invalid buffer size for sparse output specified. Valid sizes are multiples of ${SECTOR} up to ` +
        `${MAX_SPARSE}. Select 0 to disable sparse detection (fully allocates output).`,
    )
  },
}

const parallel: OptionKind<number> = {
  short: 'm',
  newer: ['parallel'],
  argument: 'num_coroutines',
  help: 'how many pieces are copied at once: 1 to 16 (8)',
  read(text) {
    const count = Number(readInteger(text) ?? 0n)
    if (count >= 1 && count <= MAX_PARALLEL) return count
    throw new Failure(
      `Invalid number of coroutines. Allowed number of coroutines is between 1 and ${MAX_PARALLEL}`,
    )
  },
}

const rate: OptionKind<number> = {
  short: 'r',
  newer: ['rate-limit'],
  argument: 'rate_limit',
  help: 'write no more than so many bytes a second',
  read: (text, warn) => exactBytes(requireSize('rate limit', text, warn)),
}

const options = {
  imageOpts: flag({
    long: 'image-opts',
    help: 'the sources are given by options, key=value,..., not by file names',
  }),
  targetImageOpts: flag({ long: 'target-image-opts', help: 'with -n: so is the target' }),
  targetIsZero: flag({ long: 'target-is-zero', help: 'with -n: the target is known to be full of zeroes' }),
  bitmaps: flag({ long: 'bitmaps', help: 'copy the bitmaps of what was written, too' }),
  skipBrokenBitmaps: flag({
    long: 'skip-broken-bitmaps',
    help: 'with --bitmaps: leave out those that were lost; without it, they are an error',
  }),
  forceShare: shared.forceShare,
  offload: flag({ short: 'C', newer: ['copy-range-offloading'], help: 'let the host copy, if it can' }),
  compress: flag({ short: 'c', newer: ['compress'], help: 'compress the target (qcow2)' }),
  progress: shared.progress,
  quiet: shared.quiet,
  noCreate: flag({ short: 'n', newer: ['no-create'], help: 'write into a target that is there' }),
  format: formatWord('fmt', {
    short: 'f',
    newer: ['source-format'],
    help: 'the format of the sources; without it, it is guessed from the content',
  }),
  cache: cacheWord(
    'cache',
    {
      short: 't',
      newer: ['target-cache'],
      help: 'how writes to the target are cached',
    },
    'unsafe',
  ),
  sourceCache: cacheWord('src_cache', {
    short: 'T',
    newer: ['source-cache'],
    help: 'how the sources are cached',
  }),
  targetFormat: formatWord('output_fmt', {
    short: 'O',
    newer: ['target-format'],
    help: 'the format of the target (raw)',
  }),
  backing: fileWord('backing_file', {
    short: 'B',
    newer: ['b', 'backing'],
    help: 'make the target an overlay of this backing file (-B before QEMU 10.1, -b since)',
  }),
  backingFormat: formatWord('backing_fmt', {
    short: 'F',
    newer: ['backing-format'],
    help: 'the format of the backing file',
  }),
  list: { ...optionList, newer: ['target-format-options'] },
  snapshot: snapshotParam,
  sparse,
  rate,
  parallel,
  outOfOrder: flag({ short: 'W', newer: ['oob-writes'], help: 'write out of order, which may be faster' }),
  salvage: flag({ long: 'salvage', help: 'go on where a source cannot be read; zeroes stand there' }),
} as const

type ConvertCall = Call<typeof options>

/** The subcommand. */
export const convert = defineCommand({
  name: 'convert',
  summary: 'copy disks into an image of another format',
  details: [
    'Copies what guests read, backing files included, into a new image. Several sources are put one after the other. A',
    'copy that fails or is interrupted leaves no new file behind.',
  ],
  operandHelp: {
    filename: 'a source',
    output_filename: 'the target; a file that is there is overwritten',
  },
  example: 'convert -p -O qcow2 old.img new.qcow2',
  options,
  operands: 'filename [filename2 [...]] output_filename',
  run,
})

async function run(call: ConvertCall): Promise<number> {
  const { options, operands, output, images } = call
  refuseContradictions(call)
  const names = operands.slice(0, -1)
  const target = names.length > 0 ? operands.at(-1) : undefined
  if (options.list !== undefined && asksForHelp(options.list)) {
    output.print(await creationHelp(call.services, options.targetFormat ?? 'raw', target))
    return 0
  }
  if (target === undefined) throw new Failure('Must specify image file name')
  const cache = requireCacheMode(options.sourceCache, 'source cache option')
  const progress = startProgress(call, MIN_SKIP)
  progress.set(0)
  const sources: BlockNode[] = []
  for (const name of names) {
    const { format, imageOpts, forceShare } = options
    const node = await openImage(call, { name, format, imageOpts, forceShare, cache })
    // Nothing may write to a source meanwhile.
    if (!forceShare) setPermissions(node, { shared: consistentRead | writeUnchanged })
    sources.push(node)
  }
  if (options.snapshot) sources[0] = await openSnapshot(images, sources, options.snapshot)
  await convertInto(call, sources, target, progress)
  const status = await images.close(0)
  if (status === 0) progress.set(100)
  return status
}

/** @throws Failure */
function refuseContradictions({ options }: ConvertCall): void {
  const { offload, noCreate } = options
  const refuse = (isRefused: unknown, message: string): void => {
    if (isRefused) throw new Failure(message)
  }
  refuse(options.compress && offload, 'Cannot enable copy offloading when -c is used')
  refuse(options.sparse !== undefined && offload, 'Cannot enable copy offloading when -S is used')
  refuse(options.salvage && offload, 'Cannot use copy offloading in salvaging mode')
  refuse(options.targetImageOpts && !noCreate, '--target-image-opts requires use of -n flag')
  refuse(noCreate && options.list !== undefined, '-o has no effect when skipping image creation')
  refuse(options.targetIsZero && !noCreate, '--target-is-zero requires use of -n flag')
  refuse(options.skipBrokenBitmaps && !options.bitmaps, 'Use of --skip-broken-bitmaps requires --bitmaps')
}

async function convertInto(
  call: ConvertCall,
  sources: readonly BlockNode[],
  name: string,
  progress: Progress,
): Promise<void> {
  const { options, images } = call
  const bitmaps = options.bitmaps ? await bitmapsToCopy(call, sources) : []
  const bytes = sources.map(({ size }) => Math.ceil(size / SECTOR) * SECTOR)
  const total = bytes.reduce((sum, size) => sum + size, 0)
  const image = options.noCreate ? undefined : await planTarget(call, name, total)
  const backing = image ? image.given.get('backing_file')?.text : options.backing
  if (sources.length > 1 && backing !== undefined)
    throw new Failure(
      'Having a backing file for the target makes no sense when concatenating multiple input images',
    )
  // QEMU prints this, but exits with success.
  if (options.targetIsZero && backing !== undefined)
    throw new Failure('Cannot use --target-is-zero when the destination image has a backing file')
  const cache = requireCacheMode(options.cache ?? 'unsafe', 'cache option')
  const request: ImageRequest = {
    name,
    format: options.targetImageOpts ? options.targetFormat : (options.targetFormat ?? 'raw'),
    imageOpts: options.targetImageOpts,
    cache,
  }
  await refuseOwnFiles(call, sources, request, image)
  if (image && backing !== undefined)
    await requireBacking(call, name, backing, image.given.get('backing_fmt')?.text)
  if (image) {
    const created = await createTarget(call, image)
    // Half an image looks like a whole one. After an interrupt it stays, since what was copied may be wanted, as with
    // QEMU.
    images.ifFailed(async (status) => {
      if (status !== INTERRUPTED) await created.remove().catch(() => undefined)
    })
  }
  const minimum = options.sparse ?? MIN_SPARSE
  // What names the key of the new image opens it, too.
  const keys = [...(image?.given ?? [])].filter(([key]) => key.endsWith('key-secret'))
  const extra = {
    ...(minimum > 0 && { discard: 'unmap' as const }),
    ...Object.fromEntries(keys.map(([key, { text }]) => [key, text])),
  }
  const target = await openImage(call, { ...request, write: true, extra })
  if (options.compress && !target.can('writeCompressed')) throw new Failure(NO_COMPRESSION)
  if (options.bitmaps && !(await bitmapsOf(target).isSupported()))
    throw new Failure(`Format driver '${target.driver.name}' does not support bitmaps`)
  if (target.size < total) throw new Failure('output file is smaller than input file')
  await refuseOtherFormat(call, name, target)
  const isNew = image !== undefined
  const beneath = backing === undefined ? {} : beneathOf(sources[0]!, target, isNew)
  const map = await CopyMap.of({
    sources: sources.map((node, index) => ({ node, bytes: bytes[index], base: beneath.base })),
    hasBeneath: backing !== undefined,
    ...(beneath.isShown === false && {
      refine: (range) => differences(sources[0]!, target, range, equalBytes),
    }),
    ...(isNew && backing !== undefined && { beneathBytes: backingOf(target)?.size }),
    ...(options.salvage && { onStatusError: warnOf(call, 'error while reading block status at offset') }),
  })
  const isZero = options.targetIsZero || (isNew && backing === undefined && isZeroWhenNew(target))
  await copyDisk(call, { map, target, minimum, isZero, ...options }, progress)
  await copyBitmaps(bitmaps, sources[0]!, target)
}

/**
 * Refuses an existing target in another format if `-O` is missing: raw bytes would overwrite it, which QEMU
 * allows. @throws Failure
 */
async function refuseOtherFormat({ options, environment }: ConvertCall, name: string, target: BlockNode) {
  const file = target.file?.node
  if (!options.noCreate || options.targetImageOpts || options.targetFormat !== undefined || !file) return
  const { driver } = await guessFormat(environment.registry, file).catch((error: unknown) => {
    throw new Failure(messageOf(error))
  })
  if (driver.name !== 'raw')
    throw new Failure(`'${name}' is an image in the format ${driver.name}, and no format was named: give -O`)
}

/**
 * Refuses a target that is also read: the sources, all files below them, and the backing file of the target.
 *
 * @throws Failure, in QEMU's words if its locks would refuse the target, too
 */
async function refuseOwnFiles(
  call: ConvertCall,
  sources: readonly BlockNode[],
  request: ImageRequest,
  image: NewImage | undefined,
): Promise<void> {
  const { environment, options } = call
  const { name } = request
  const files: Files = new Map(sources.flatMap((node) => [...filesOf(node)]))
  const refuse = (written: string, called: string): never => {
    const { filename = written, format } = image ?? {}
    const what = format ? `${filename}: error while converting ${format.name}` : `Could not open '${name}'`
    throw new Failure(
      options.forceShare
        ? `${what}: '${written}' is '${called}', which the source is read from`
        : `${what}: Failed to get "write" lock\nIs another process using the image [${written}]?`,
    )
  }
  if (!image) {
    const quiet = { ...environment, onWarn: () => {} }
    // If it cannot be opened, the later open reports that.
    const node = await openBriefly(call, { ...request, look: true }, quiet).catch(() => undefined)
    const written = node ? filesOf(node, true) : []
    await node?.close()
    for (const [identity, called] of written) if (files.has(identity)) refuse(called, files.get(identity)!)
    return
  }
  const names = [name, image.given.get('data_file')?.text]
  const same = await findSame(environment, names, files)
  if (same) refuse(same.name, same.called)
  const backing = image.given.get('backing_file')?.text
  const full = backing === undefined ? undefined : resolveBackingFilename(name, backing)
  if (full === undefined) return
  const format = image.given.get('backing_fmt')?.text
  const below = await findSame(environment, names, await filesOfChain(environment, full, format))
  if (below)
    throw new Failure(
      `${name}: error while converting ${image.format.name}: ` +
        `Trying to create '${below.name}' over '${below.called}', which the backing file '${backing}' needs`,
    )
}

/** Plans the image to create, as large as the sources together. @throws Failure */
async function planTarget(
  { options, output, services }: ConvertCall,
  filename: string,
  total: number,
): Promise<NewImage> {
  const { targetFormat: format = 'raw', list, backing, backingFormat } = options
  const request = { filename, format, list, backing, backingFormat }
  const image = await planImage(services, request, output.warn)
  image.given.set('size', { text: String(total), number: BigInt(total) })
  const named = image.given.get('backing_file')?.text
  if (named === '') throw new Failure('Expected backing file name, got empty string')
  if (named !== undefined && !image.given.has('backing_fmt'))
    throw new Failure('Use of backing file requires explicit backing format')
  if (options.compress) {
    if (!image.format.canCompress) throw new Failure(NO_COMPRESSION)
    const { text: encryption = 'off' } = image.given.get('encryption') ?? {}
    if (encryption !== 'off' || image.given.has('encrypt.format'))
      throw new Failure('Compression and encryption not supported at the same time')
    const { text: preallocation = 'off' } = image.given.get('preallocation') ?? {}
    if (preallocation !== 'off')
      throw new Failure('Compression and preallocation not supported at the same time')
  }
  return image
}

/**
 * Checks that the backing file opens: a target that cannot be opened must not replace an existing file.
 * @throws Failure
 */
async function requireBacking(
  { environment }: ConvertCall,
  name: string,
  backing: string,
  format: string | undefined,
): Promise<void> {
  try {
    const filename = resolveBackingFilename(name, backing)
    const driver = format !== undefined && { driver: format }
    const node = await openNode(environment, { ...driver, filename, 'read-only': true, 'force-share': true })
    await node.close()
  } catch (error) {
    throw new Failure(`Could not open '${name}': Could not open backing file: ${messageOf(error)}`)
  }
}

async function createTarget({ environment }: ConvertCall, image: NewImage): Promise<CreatedFile> {
  try {
    return await makeImage(environment, image)
  } catch (error) {
    const { filename, format } = image
    throw new Failure(`${filename}: error while converting ${format.name}: ${messageOf(error)}`)
  }
}
