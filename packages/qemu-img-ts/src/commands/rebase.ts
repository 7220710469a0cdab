/** `rebase`: gives an overlay another backing file. */
import { type Disk, isBlockError, messageOf, openNode, rebaseNode, skipFilters } from '@vmblock/block-core'
import { resolveBackingFilename } from '@vmblock/block-core/driver'
import { errorText } from '@vmblock/block-core/late'
import { equalBytes, isZeroBytes } from '@vmblock/block-core/node'
import { cacheWord, Failure, fileWord, flag, formatWord, oneImage, shared, usageFailure } from '@vmblock/cli'
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
  cache: cacheWord('cache', { short: 't', newer: ['cache'], help: 'how writes to the overlay are cached' }),
  sourceCache: cacheWord('src_cache', {
    short: 'T',
    newer: ['backing-cache'],
    help: 'how the backing files are cached',
  }),
  progress: shared.progress,
  compress: flag({ newer: ['c', 'compress'], help: 'compress what is copied (qcow2)' }),
  unsafe: flag({
    short: 'u',
    newer: ['backing-unsafe'],
    help: 'only change the name; what the disk reads may change',
  }),
  backing: fileWord('backing_file', {
    short: 'b',
    newer: ['backing'],
    help: "the new backing file; '' for none",
  }),
  backingFormat: formatWord('backing_fmt', {
    short: 'F',
    newer: ['B', 'backing-format'],
    help: 'the format of the new backing file (-F before QEMU 10.1, -B since)',
  }),
} as const

type RebaseCall = Call<typeof options>

/** The subcommand. */
export const rebase = defineCommand({
  name: 'rebase',
  summary: 'give an overlay another backing file',
  details: [
    'The disk reads as before: what differs between the old backing file and the new one is copied into the overlay.',
    'With -u only the name is changed, for a backing file that was moved.',
  ],
  operandHelp: { filename: 'the overlay' },
  example: 'rebase -b new.qcow2 -F qcow2 overlay.qcow2',
  options,
  operands: 'filename',
  run,
})

async function run(call: RebaseCall): Promise<number> {
  const { options, images } = call
  const name = oneImage(call)
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

/** @throws Failure */
function requireFormat({ options, services: { registry } }: RebaseCall): void {
  const { backingFormat } = options
  if (backingFormat !== undefined && registry.find(backingFormat)?.kind === undefined)
    throw new Failure(`Invalid format name: '${backingFormat}'`)
}

/** In QEMU this comes after the copying. @throws Failure */
function requireNamedFormat(options: Options): void {
  const { backing, backingFormat } = options
  if (backing && backingFormat === undefined)
    throw new Failure(`Could not change the backing file to '${backing}': backing format must be specified`)
}

/** @returns undefined for `-b ''` @throws Failure */
async function openBacking(
  { options, environment }: RebaseCall,
  image: Disk,
  cache: CacheFlags,
): Promise<Disk | undefined> {
  const { backing, backingFormat, forceShare } = options
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
    await skipFilters(image).changeBackingFile(backing || null, backing ? options.backingFormat : undefined)
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
    format: options.backingFormat,
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
