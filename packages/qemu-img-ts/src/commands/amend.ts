/** `amend`: changes creation options of an existing image. */
import { type BlockNode, isBlockError, messageOf } from '@vmblock/block-core'
import type { DriverFacts, OptionTable } from '@vmblock/block-core/driver'
import { cacheWord, Failure, flag, oneImage, shared, usageFailure, type Warn } from '@vmblock/cli'
import { openImage, requireCacheMode } from '../images/image.ts'
import { type Call, defineCommand } from '../kit/command.ts'
import { runJob } from '../kit/job.ts'
import {
  asksForHelp,
  type GivenOption,
  optionHelp,
  optionList,
  optionValue,
  readOptionList,
} from '../kit/option-list.ts'
import { type Progress, startProgress } from '../kit/progress.ts'

/** Percent by which progress must move to be shown. */
const MIN_SKIP = 1

const options = {
  imageOpts: shared.imageOpts,
  progress: shared.progress,
  quiet: shared.quiet,
  format: shared.shortFormat,
  cache: cacheWord('cache', { short: 't', newer: ['cache'], help: 'how writes to the image are cached' }),
  force: flag({ long: 'force', help: 'do also what may lose the keys of an encrypted image' }),
  list: optionList,
} as const

type AmendCall = Call<typeof options>

/** The subcommand. */
export const amend = defineCommand({
  name: 'amend',
  summary: 'change options of an existing image',
  details: [
    'Changes what was decided when the image was made: its version, the size of its reference counts, the',
    'passphrases of an encrypted image. The content of the disk stays. The option -o must be given.',
  ],
  operandHelp: { filename: 'the image to change' },
  example: 'amend -o compat=1.1,lazy_refcounts=on disk.qcow2',
  options,
  operands: 'filename',
  run,
})

async function run(call: AmendCall): Promise<number> {
  const { options, output, services } = call
  const { list } = options
  if (list === undefined) throw usageFailure('Must specify options (-o)')
  const progress = startProgress(call, MIN_SKIP)
  const wantsHelp = asksForHelp(list)
  if (options.format !== undefined && wantsHelp) {
    const driver = services.registry.find(options.format)
    if (!driver) throw new Failure(`Unknown file format '${options.format}'`)
    output.print(await helpText(driver))
    return 0
  }
  // In QEMU, this subcommand alone does not point to the help here.
  const name = oneImage(call, (message) => new Failure(message))
  const cache = requireCacheMode(options.cache, 'cache option')
  const { format, imageOpts } = options
  const node = await openImage(call, { name, format, imageOpts, cache, write: true })
  if (wantsHelp) output.print(await helpText(node.driver))
  else await amendNode(call, node, list, progress)
  return 0
}

/** The options that a format can change. @throws Failure */
async function amendTable({ name, amendOptions }: DriverFacts): Promise<OptionTable> {
  if (!amendOptions) throw new Failure(`Format driver '${name}' does not support option amendment`)
  return amendOptions()
}

const helpText = async (driver: DriverFacts): Promise<string> =>
  `Amend options for '${driver.name}':\n${optionHelp(await amendTable(driver))}`

async function amendNode(call: AmendCall, node: BlockNode, list: string, progress: Progress): Promise<void> {
  const { output, services } = call
  const table = await amendTable(node.driver)
  const creation = await services.registry.get(node.driver.name).creation?.()
  const given = readAmendments(list, table, creation?.options ?? {}, output.warn)
  const values = Object.fromEntries([...given].map(([name, option]) => [name, optionValue(option)]))
  progress.set(0)
  try {
    await runJob(
      call,
      (control) => node.amend(values, { ...control, force: call.options.force }),
      (done, total) => progress.setPart(done, total),
    )
  } catch (error) {
    if (error instanceof Failure) throw error
    progress.set(100)
    const message = messageOf(error)
    const isRebase = isBlockError(error) && message === 'Cannot amend the backing file'
    throw new Failure(message, isRebase ? { hint: `You can use 'qemu-img rebase' instead.` } : {})
  }
  progress.set(100)
}

/** Parses the list; the failure for an option that cannot be changed tells if `create` takes it. */
function readAmendments(
  list: string,
  table: OptionTable,
  createOptions: OptionTable,
  warn: Warn,
): Map<string, GivenOption> {
  try {
    return readOptionList(list, table, warn)
  } catch (error) {
    if (!(error instanceof Failure) || !isReadable(list, { ...table, ...createOptions })) throw error
    throw new Failure(error.lines, { hint: 'This option is only supported for image creation' })
  }
}

function isReadable(list: string, table: OptionTable): boolean {
  try {
    readOptionList(list, table, () => {})
    return true
  } catch {
    return false
  }
}
