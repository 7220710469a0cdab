/** `commit`: writes what an overlay holds down into a backing file. */
import {
  type BlockNode,
  backingOf,
  combinePaths,
  commitNode,
  messageOf,
  skipFilters,
} from '@vmblock/block-core'
import { type Call, defineCommand, flag, type OptionKind, shared, word } from '../command.ts'
import { exactBytes, openImage, placeOf, requireCacheMode, withImage } from '../image.ts'
import { Failure, usageFailure } from '../output.ts'
import { requireSize } from '../size-text.ts'
import { withProgress } from '../with-progress.ts'

/** Percent by which progress must move to be shown. */
const MIN_SKIP = 1

const rate: OptionKind<bigint> = {
  short: 'r',
  argument: 'rate_limit',
  read: (text, _before, output) => requireSize('rate limit', text, output),
}

const options = {
  imageOpts: shared.imageOpts,
  quiet: shared.quiet,
  format: shared.shortFormat,
  cache: word('cache', { short: 't' }),
  base: word('base', { short: 'b' }),
  rate,
  drop: flag({ short: 'd' }),
  progress: shared.progress,
} as const

type CommitCall = Call<typeof options>

/** The subcommand. */
export const commit = defineCommand({
  name: 'commit',
  summary: 'write an overlay down into its backing file',
  options,
  operands: 'filename',
  run,
})

async function run(call: CommitCall): Promise<number> {
  const { options, operands, output } = call
  const [filename, ...more] = operands
  if (filename === undefined || more.length > 0) throw usageFailure('Expecting one image file name')
  const cache = requireCacheMode(options.cache, 'cache option')
  const { format, imageOpts } = options
  const extra = imageOpts ? {} : { discard: 'unmap' }
  const node = await openImage(call, { name: filename, format, imageOpts, cache, write: true, extra })
  const shown = options.progress === true && !options.quiet
  const status = await withImage(call, node, () =>
    withProgress(call, { shown, minSkip: MIN_SKIP }, async (progress) => {
      progress.set(0)
      const base = options.base === undefined ? undefined : await findBase(call, node, filename, options.base)
      // Overlays of a lower layer are left alone: their backing file then shows the new content beneath them.
      const makeEmpty = !options.drop && base === undefined
      try {
        await commitNode(node, {
          base,
          makeEmpty,
          rate: options.rate === undefined ? undefined : exactBytes(options.rate),
          progress: (done, total) => progress.setPart(done, total),
        })
      } catch (error) {
        throw new Failure(messageOf(error))
      }
      progress.set(100)
      return 0
    }),
  )
  if (status === 0 && !options.quiet) output.print('Image committed.\n')
  return status
}

/** The layer below `top` that `-b` names: as a header names it, or by a path from the image above it. */
async function findBase(
  call: CommitCall,
  top: BlockNode,
  filename: string,
  wanted: string,
): Promise<BlockNode> {
  const realPath = async (name: string): Promise<string> => (await call.services.realPath?.(name)) ?? name
  for (let above = skipFilters(top); ; ) {
    const below = backingOf(above)
    if (!below) throw new Failure(`Did not find '${wanted}' in the backing chain of '${filename}'`)
    const named = (await above.info()).backingFilename
    if (wanted === named || wanted === below.filename) return below
    const path = combinePaths(placeOf(above), wanted)
    if ((await realPath(path)) === (await realPath(below.filename))) return below
    above = skipFilters(below)
  }
}
