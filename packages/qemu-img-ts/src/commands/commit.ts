/** `commit`: writes the content of an overlay into a backing file. */
import { type BlockNode, backingOf, commitNode, reopenNode, skipFilters } from '@vmblock/block-core'
import { combinePaths, protocolOf, resolveBackingFilename } from '@vmblock/block-core/driver'
import { emptyCommitted, errorText } from '@vmblock/block-core/late'
import { cacheWord, Failure, fileWord, flag, oneImage, shared } from '@vmblock/cli'
import { bottomFilename, exactBytes, openImage, requireCacheMode } from '../images/image.ts'
import { filesOf } from '../images/same-file.ts'
import { type Call, defineCommand } from '../kit/command.ts'
import { runJob } from '../kit/job.ts'
import { type Progress, startProgress } from '../kit/progress.ts'
import { sizeOption } from '../kit/size-text.ts'

/** Percent by which progress must move to be shown. */
const MIN_SKIP = 1

const options = {
  imageOpts: shared.imageOpts,
  quiet: shared.quiet,
  format: shared.shortFormat,
  cache: cacheWord('cache', { short: 't', newer: ['cache'], help: 'how writes are cached' }),
  base: fileWord('base', {
    short: 'b',
    newer: ['base'],
    help: 'the backing file that takes the content, if it is not the nearest one; implies -d',
  }),
  rate: sizeOption('rate limit', {
    short: 'r',
    newer: ['rate-limit'],
    argument: 'rate_limit',
    help: 'write no more than so many bytes a second',
  }),
  drop: flag({ short: 'd', newer: ['drop'], help: 'leave the overlay as it is; it is emptied otherwise' }),
  progress: shared.progress,
} as const

type CommitCall = Call<typeof options>

/** The subcommand. */
export const commit = defineCommand({
  name: 'commit',
  summary: 'write an overlay down into its backing file',
  details: [
    'Writes what an overlay holds into its backing file, which reads as the overlay does afterwards. Other overlays of',
    'that backing file become useless. Exit status 130 after Ctrl-C: both images are whole, and it can be run again.',
  ],
  operandHelp: { filename: 'the overlay' },
  example: 'commit -p overlay.qcow2',
  options,
  operands: 'filename',
  run,
})

async function run(call: CommitCall): Promise<number> {
  const { options, output, images } = call
  const name = oneImage(call)
  const cache = requireCacheMode(options.cache, 'cache option')
  const { format, imageOpts } = options
  const extra = { discard: 'unmap' }
  const node = await openImage(call, { name, format, imageOpts, cache, write: true, extra })
  const progress = startProgress(call, MIN_SKIP)
  progress.set(0)
  const below = backingOf(node)
  if (!below && options.base === undefined) throw new Failure('Image does not have a backing file')
  const base = options.base === undefined ? below! : await findBase(call, node, name, options.base)
  refuseOwnFiles(node, skipFilters(base))
  await copyDown(call, node, skipFilters(base), progress)
  // With `-b` the overlay is not emptied: layers in between might hide the new content of the base.
  if (!options.drop && options.base === undefined) await empty(node)
  progress.end()
  const status = await images.close(0)
  if (status === 0 && !options.quiet) output.print('Image committed.\n')
  return status
}

/** Refuses to write into a file that another layer is read from, even if locks allow it. @throws Failure */
function refuseOwnFiles(top: BlockNode, base: BlockNode): void {
  const written = filesOf(base, true)
  for (let layer: BlockNode | undefined = top; layer; layer = backingOf(layer)) {
    if (skipFilters(layer) === base) continue
    for (const [identity, name] of filesOf(layer, true))
      if (written.has(identity))
        throw new Failure(
          `'${written.get(identity)}' cannot be committed into: '${name}' of the chain is the same file`,
        )
  }
}

async function copyDown(
  call: CommitCall,
  top: BlockNode,
  base: BlockNode,
  progress: Progress,
): Promise<void> {
  const { rate: given } = call.options
  const rate = given === undefined ? undefined : exactBytes(given)
  // Reopened here and not in the job, because QEMU has different messages for the two failures.
  if (base.readOnly) await reopenNode(base, { readOnly: false })
  try {
    await runJob(
      call,
      (control) => commitNode(top, { base, makeEmpty: false, rate }, control),
      (done, total) => {
        progress.ofBytes(total)
        progress.setPart(done, total)
      },
    )
  } catch (error) {
    if (error instanceof Failure) throw error
    throw new Failure(`Block job failed: ${errorText(error)}`)
  }
  progress.set(100)
}

/**
 * Empties the overlay. A format that cannot do this keeps its content, which the backing file now has too.
 */
async function empty(top: BlockNode): Promise<void> {
  try {
    await emptyCommitted(top)
  } catch (error) {
    throw new Failure(`Failed to empty ${top.filename}: ${errorText(error)}`)
  }
}

/** Finds the layer below `top` that `-b` names; names are relative to the image above, as in a header. */
async function findBase(
  call: CommitCall,
  top: BlockNode,
  filename: string,
  wanted: string,
): Promise<BlockNode> {
  for (let above = skipFilters(top); ; ) {
    const below = backingOf(above)
    if (!below) throw new Failure(`Did not find '${wanted}' in the backing chain of '${filename}'`)
    if (await isNamed(call, above, below, wanted)) return below
    above = skipFilters(below)
  }
}

async function isNamed(
  call: CommitCall,
  above: BlockNode,
  below: BlockNode,
  wanted: string,
): Promise<boolean> {
  const bottom = bottomFilename(above)
  const named = (await above.info()).backingFilename
  const full = named === undefined ? undefined : resolveBackingFilename(bottom, named)
  // The backing file is not the one in the header, or has no path: only names can be compared.
  if (full !== below.filename || [wanted, full].some(hasProtocol))
    return [named, full, below.filename].includes(wanted)
  const realPath = async (name: string): Promise<string> => (await call.services.realPath?.(name)) ?? name
  return (await realPath(combinePaths(bottom, wanted))) === (await realPath(full))
}

const hasProtocol = (name: string): boolean => protocolOf(name) !== undefined
