/** `rebase`: gives an overlay another backing file. */
import { type Disk, isBlockError, messageOf, openNode, rebaseNode, skipFilters } from '@vmblock/block-core'
import { resolveBackingFilename } from '@vmblock/block-core/driver'
import { errorText } from '@vmblock/block-core/late'
import { equalBytes, isZeroBytes } from '@vmblock/block-core/node'
import { Failure, flag, shared, usageFailure, word } from '@vmblock/cli'
import { bottomFilename, type CacheFlags, flagsOf, openBriefly, requireCacheMode } from '../images/image.ts'
import { type Call, defineCommand } from '../kit/command.ts'
import { runJob } from '../kit/job.ts'
import { type Progress, startProgress } from '../kit/progress.ts'

/** Percent by which progress must move to be shown. */
const MIN_SKIP = 2

const options = {
  imageOpts: shared.imageOpts,
  forceShare: shared.forceShare,
  quiet: shared.quiet,
  format: shared.shortFormat,
  cache: word('cache', { short: 't' }),
  sourceCache: word('src_cache', { short: 'T' }),
  progress: shared.progress,
  compress: flag({ short: 'c' }),
  unsafe: flag({ short: 'u' }),
  backing: word('backing_file', { short: 'b' }),
  backingFormat: word('backing_fmt', { short: 'F' }),
  /** QEMU's spelling since 10.1. */
  backingFormatToday: word('backing_fmt', { short: 'B' }),
} as const

type RebaseCall = Call<typeof options>

/** The subcommand. */
export const rebase = defineCommand({
  name: 'rebase',
  summary: 'give an overlay another backing file',
  details: [
    "'-b' and '-F' name the new backing file and its format, '-b \"\"' stands for none; what differs is first copied into the",
    "overlay, compressed with '-c'; '-u' only changes the name, as after the backing file was moved",
  ],
  options,
  operands: 'filename',
  run,
})

async function run(call: RebaseCall): Promise<number> {
  const { options, images } = call
  const [name, ...more] = call.operands
  if (name === undefined || more.length > 0) throw usageFailure('Expecting one image file name')
  if (!options.unsafe && options.backing === undefined)
    throw usageFailure('Must specify backing file (-b) or use unsafe mode (-u)')
  const progress = startProgress(call, MIN_SKIP)
  progress.set(0)
  const cache = requireCacheMode(options.cache, 'cache option')
  const sourceCache = requireCacheMode(options.sourceCache, 'source cache option')
  const { format, imageOpts, unsafe } = options
  const extra = unsafe ? { backing: null } : {}
  const request = { name, format, imageOpts, cache, write: true, extra }
  const image = await openBriefly(call, request, call.environment)
  try {
    requireFormat(call)
    const next = unsafe ? undefined : await openBacking(call, image, sourceCache)
    // Closed after the overlay, which uses it by then.
    if (next) images.keep(next)
    requireNamedFormat(options)
    await (unsafe ? changeName(image, options) : copyAndChange(call, image, next, progress))
  } finally {
    images.keep(image)
  }
  progress.set(100)
  return 0
}

type Options = RebaseCall['options']

const formatOf = ({ backingFormat, backingFormatToday }: Options): string | undefined =>
  backingFormat ?? backingFormatToday

/** @throws Failure */
function requireFormat({ options, services: { registry } }: RebaseCall): void {
  const backingFormat = formatOf(options)
  if (backingFormat !== undefined && registry.find(backingFormat)?.kind === undefined)
    throw new Failure(`Invalid format name: '${backingFormat}'`)
}

/** In QEMU this comes after the copying. @throws Failure */
function requireNamedFormat(options: Options): void {
  const { backing } = options
  if (backing && formatOf(options) === undefined)
    throw new Failure(`Could not change the backing file to '${backing}': backing format must be specified`)
}

/** @returns undefined for `-b ''` @throws Failure */
async function openBacking(
  { options, environment }: RebaseCall,
  image: Disk,
  cache: CacheFlags,
): Promise<Disk | undefined> {
  const { backing, forceShare } = options
  const backingFormat = formatOf(options)
  if (!backing) return undefined
  try {
    return await openNode(environment, {
      ...(backingFormat !== undefined && { driver: backingFormat }),
      filename: resolveBackingFilename(bottomFilename(skipFilters(image)), backing),
      'read-only': true,
      ...(forceShare && { 'force-share': true }),
      cache: flagsOf({ ...cache, writeCache: true }),
    })
  } catch (error) {
    throw new Failure(`Could not open new backing file '${backing}': ${messageOf(error)}`)
  }
}

async function changeName(image: Disk, options: Options): Promise<void> {
  const { backing } = options
  try {
    await skipFilters(image).changeBackingFile(backing || null, backing ? formatOf(options) : undefined)
  } catch (error) {
    throw notChanged(error, backing)
  }
}

async function copyAndChange(
  call: RebaseCall,
  image: Disk,
  node: Disk | undefined,
  progress: Progress,
): Promise<void> {
  const { options, output } = call
  const { compress, backing } = options
  if ((await image.listSnapshots()).length > 0)
    output.warn(
      `the snapshots inside the image keep their content only where the new backing file has the same`,
    )
  const filename = backing || null
  const settings = {
    filename,
    format: formatOf(options),
    node,
    compress,
    changesSnapshots: true,
    equal: equalBytes,
    isZero: isZeroBytes,
  }
  try {
    await runJob(
      call,
      (control) => rebaseNode(image, settings, control),
      (done, total) => progress.setPart(done, total),
    )
  } catch (error) {
    if (error instanceof Failure) throw error
    // Failures of the copying have QEMU's words, and what is refused beforehand explains itself.
    const isRefused = isBlockError(error, 'ENOSPC') || isBlockError(error, 'ENOTSUP')
    throw isRefused ? notChanged(error, backing) : new Failure(messageOf(error))
  }
}

const notChanged = (error: unknown, backing: string | undefined): Failure =>
  new Failure(
    `Could not change the backing file to '${backing ?? '(null)'}': ` +
      (isBlockError(error, 'ENOSPC') ? 'No space left in the file header' : errorText(error)),
  )
