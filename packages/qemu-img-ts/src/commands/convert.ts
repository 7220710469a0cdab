/** `convert`: copies disks, one after the other, into a new or existing image. */
import {
  type BlockNode,
  backingOf,
  CopyMap,
  type DriverFacts,
  guessFormat,
  messageOf,
  openNode,
  parseKeyValue,
  readInteger,
  resolveBackingFilename,
  SECTOR,
  skipFilters,
  unshareWrites,
} from '@vmblock/block-core'
import { beneathOf, differences } from '../images/beneath.ts'
import { copyDisk, INTERRUPTED, warnOf } from '../images/copy-disk.ts'
import {
  type CacheFlags,
  exactBytes,
  type ImageRequest,
  openImage,
  requireCacheMode,
  withImage,
} from '../images/image.ts'
import { creationHelp, makeImage, type NewImage, planImage, type Undo } from '../images/new-image.ts'
import { type Files, filesOf, filesOfChain, findSame } from '../images/same-file.ts'
import { type Call, defineCommand, flag, type OptionKind, shared, word } from '../kit/command.ts'
import { asksForHelp, optionList } from '../kit/option-list.ts'
import { Failure } from '../kit/output.ts'
import type { Progress } from '../kit/progress.ts'
import { requireSize } from '../kit/size-text.ts'
import { withProgress } from '../kit/with-progress.ts'

/** Percent by which progress must move to be shown. */
const MIN_SKIP = 1
/** Default for the shortest run of zeroes that is left out, in bytes. */
const MIN_SPARSE = 4096
/** The largest value of `-S`, in bytes. QEMU's MAX_BUF_SECTORS. */
const MAX_SPARSE = 16 * 1024 * 1024
const MAX_PARALLEL = 16

const sparse: OptionKind<number> = {
  short: 'S',
  argument: 'sparse_size',
  read(text, _before, output) {
    const bytes = Number(requireSize('buffer size for sparse output', text, output))
    if (bytes % SECTOR === 0 && bytes <= MAX_SPARSE) return bytes
    throw new Failure(
      `Invalid buffer size for sparse output specified. Valid sizes are multiples of ${SECTOR} up to ` +
        `${MAX_SPARSE}. Select 0 to disable sparse detection (fully allocates output).`,
    )
  },
}

const parallel: OptionKind<number> = {
  short: 'm',
  argument: 'num_coroutines',
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
  argument: 'rate_limit',
  read: (text, _before, output) => exactBytes(requireSize('rate limit', text, output)),
}

const snapshot: OptionKind<string> = {
  short: 'l',
  argument: 'snapshot_param',
  read(text, _before, output) {
    if (!text.startsWith('snapshot.')) return text
    const { snapshot: named, ...others } = parseKeyValue(text, undefined, (warning) => output.relay(warning))
    const keys = [...Object.keys(others), ...Object.keys(named ?? {}).map((key) => `snapshot.${key}`)]
    const unknown = keys.find((key) => key !== 'snapshot.id' && key !== 'snapshot.name')
    if (unknown === undefined) return text
    throw new Failure([`Invalid parameter '${unknown}'`, `Failed in parsing snapshot param '${text}'`])
  },
}

const options = {
  imageOpts: shared.imageOpts,
  targetImageOpts: flag({ long: 'target-image-opts' }),
  targetIsZero: flag({ long: 'target-is-zero' }),
  bitmaps: flag({ long: 'bitmaps' }),
  skipBrokenBitmaps: flag({ long: 'skip-broken-bitmaps' }),
  forceShare: shared.forceShare,
  offload: flag({ short: 'C' }),
  compress: flag({ short: 'c' }),
  progress: shared.progress,
  quiet: shared.quiet,
  noCreate: flag({ short: 'n' }),
  format: shared.shortFormat,
  cache: word('cache', { short: 't' }),
  sourceCache: word('src_cache', { short: 'T' }),
  targetFormat: word('output_fmt', { short: 'O' }),
  backing: word('backing_file', { short: 'B' }),
  backingFormat: word('backing_fmt', { short: 'F' }),
  list: optionList,
  snapshot,
  sparse,
  rate,
  parallel,
  outOfOrder: flag({ short: 'W' }),
  salvage: flag({ long: 'salvage' }),
} as const

type ConvertCall = Call<typeof options>

/** The subcommand. */
export const convert = defineCommand({
  name: 'convert',
  summary: 'copy disks into an image of another format',
  options,
  operands: 'filename [filename2 [...]] output_filename',
  run,
})

async function run(call: ConvertCall): Promise<number> {
  const { options, operands, output } = call
  refuseContradictions(call)
  const names = operands.slice(0, -1)
  const target = names.length > 0 ? operands.at(-1) : undefined
  if (options.list !== undefined && asksForHelp(options.list)) {
    output.print(creationHelp(call.services, options.targetFormat ?? 'raw', target))
    return 0
  }
  if (target === undefined) throw new Failure('Must specify image file name')
  const cache = requireCacheMode(options.sourceCache, 'source cache option')
  const shown = options.progress === true && !options.quiet
  return withProgress(call, { shown, minSkip: MIN_SKIP }, async (progress) => {
    progress.set(0)
    const status = await withSources(call, names, cache, (sources) =>
      convertInto(call, sources, target, progress),
    )
    if (status === 0) progress.set(100)
    return status
  })
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

/** Opens all sources, and closes them afterwards. */
async function withSources(
  call: ConvertCall,
  names: readonly string[],
  cache: CacheFlags,
  use: (sources: readonly BlockNode[]) => Promise<number>,
): Promise<number> {
  const { format, imageOpts, forceShare } = call.options
  const openFrom = async (sources: readonly BlockNode[]): Promise<number> => {
    const name = names[sources.length]
    if (name === undefined) return use(sources)
    const node = await openImage(call, { name, format, imageOpts, forceShare, cache })
    return withImage(call, node, () => {
      if (!forceShare) unshareWrites(node)
      return openFrom([...sources, node])
    })
  }
  return openFrom([])
}

async function convertInto(
  call: ConvertCall,
  sources: readonly BlockNode[],
  name: string,
  progress: Progress,
): Promise<number> {
  const { options } = call
  refuseMissing(call, sources)
  const bytes = sources.map(({ size }) => Math.ceil(size / SECTOR) * SECTOR)
  const total = bytes.reduce((sum, size) => sum + size, 0)
  const image = options.noCreate ? undefined : planTarget(call, name, total)
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
  const undo = image && (await createTarget(call, image))
  try {
    const status = await fillTarget(
      call,
      { sources, bytes, total, request, backing, isNew: image !== undefined },
      progress,
    )
    if (status !== 0) await undo?.()
    return status
  } catch (error) {
    // Half an image looks like a whole one. But users who interrupt know it, and may want to keep it, as with
    // QEMU.
    if (!(error instanceof Failure && error.status === INTERRUPTED)) await undo?.()
    throw error
  }
}

/** The sources and the target of a conversion. Sizes in bytes. */
interface Filling {
  readonly sources: readonly BlockNode[]
  /** The size of each source, rounded up to whole sectors. */
  readonly bytes: readonly number[]
  readonly total: number
  readonly request: ImageRequest
  readonly backing: string | undefined
  /** Whether the target was created for this conversion. */
  readonly isNew: boolean
}

async function fillTarget(
  call: ConvertCall,
  { sources, bytes, total, request, backing, isNew }: Filling,
  progress: Progress,
): Promise<number> {
  const { options } = call
  const minimum = options.sparse ?? MIN_SPARSE
  const target = await openImage(call, {
    ...request,
    write: true,
    ...(minimum > 0 && { extra: { discard: 'unmap' } }),
  })
  return withImage(call, target, async () => {
    if (options.compress && !target.can('writeCompressed')) throw noCompression(target.driver)
    if (target.size < total) throw new Failure('output file is smaller than input file')
    await refuseOtherFormat(call, request.name, target)
    const beneath = backing === undefined ? {} : beneathOf(sources[0]!, target, isNew)
    const map = await CopyMap.of({
      sources: sources.map((node, index) => ({ node, bytes: bytes[index], base: beneath.base })),
      hasBeneath: backing !== undefined,
      ...(beneath.isShown === false && { refine: (range) => differences(sources[0]!, target, range) }),
      ...(isNew && backing !== undefined && { beneathBytes: backingOf(target)?.size }),
      ...(options.salvage && { onStatusError: warnOf(call, 'error while reading block status at offset') }),
    })
    const isZero = options.targetIsZero || (isNew && backing === undefined && isZeroWhenNew(target))
    return copyDisk(call, { map, target, minimum, isZero, ...options }, progress)
  })
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
    const node = await openImage(call, { ...request, look: true }, quiet).catch(() => undefined)
    const written = node ? filesOf(node, true) : []
    await node?.close()
    for (const [place, called] of written) if (files.has(place)) refuse(called, files.get(place)!)
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

/** Refuses features that no format has yet, in QEMU's words for formats without them. @throws Failure */
function refuseMissing({ options }: ConvertCall, [source, ...more]: readonly BlockNode[]): void {
  if (options.snapshot !== undefined) {
    if (more.length > 0) throw new Failure('No support for concatenating multiple snapshot')
    throw new Failure(
      `Failed to load snapshot: Block format '${source!.driver.name}' used by device '' does not support ` +
        'temporarily loading internal snapshots',
    )
  }
  if (options.bitmaps) throw new Failure('Source lacks bitmap support')
}

/** Whether a new image reads as zeroes: a file begins empty, a device keeps its old content. */
function isZeroWhenNew(node: BlockNode): boolean {
  const { driver, file } = skipFilters(node)
  if (file?.kind.shows) return isZeroWhenNew(file.node)
  return driver.kind === 'format' || node.growable
}

/** The failure for a format that cannot compress: QEMU's words if it never can, ours if it will. */
const noCompression = ({ name, createOptions = {} }: DriverFacts): Failure =>
  new Failure(
    'compression_type' in createOptions
      ? `Writing compressed clusters is not there yet: convert to ${name} without -c`
      : 'Compression not supported for this file format',
  )

/** Plans the image to create, as large as the sources together. @throws Failure */
function planTarget({ options, output, services }: ConvertCall, filename: string, total: number): NewImage {
  const { targetFormat: format = 'raw', list, backing, backingFormat } = options
  const request = { filename, format, list, backing, backingFormat }
  const image = planImage(services, request, (line) => output.warn(line))
  image.given.set('size', { text: String(total), number: BigInt(total) })
  const named = image.given.get('backing_file')?.text
  if (named === '') throw new Failure('Expected backing file name, got empty string')
  if (named !== undefined && !image.given.has('backing_fmt'))
    throw new Failure('Use of backing file requires explicit backing format')
  if (options.compress) {
    if (!image.format.canCompress) throw noCompression(image.format)
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

async function createTarget({ environment }: ConvertCall, image: NewImage): Promise<Undo> {
  try {
    return await makeImage(environment, image)
  } catch (error) {
    const { filename, format } = image
    throw new Failure(`${filename}: error while converting ${format.name}: ${messageOf(error)}`)
  }
}
