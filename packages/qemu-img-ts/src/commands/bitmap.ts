/** `bitmap`: adds, removes and changes the dirty bitmaps of an image. */
import { type BlockNode, bitmapsOf, isBlockError, messageOf } from '@vmblock/block-core'
import { Failure, type OptionKind, shared, word } from '@vmblock/cli'
import { openImage } from '../images/image.ts'
import { type Call, defineCommand } from '../kit/command.ts'
import { requireSize } from '../kit/size-text.ts'

/** One thing to be done. */
interface Action {
  readonly operation: 'add' | 'remove' | 'clear' | 'enable' | 'disable' | 'merge'
  /** The bitmap to merge. */
  readonly source: string
  /** Actions are done in the order in which they were given, whatever their options are. */
  readonly order: number
}

let given = 0

const action = (operation: Action['operation'], argument?: string): OptionKind<readonly Action[]> => ({
  long: operation,
  argument,
  read: (source, _warn, before = []) => [...before, { operation, source, order: given++ }],
})

const options = {
  merge: action('merge', 'source_bitmap'),
  add: action('add'),
  remove: action('remove'),
  clear: action('clear'),
  enable: action('enable'),
  disable: action('disable'),
  source: word('source_file', { short: 'b' }),
  sourceFormat: word('source_fmt', { short: 'F' }),
  granularity: {
    short: 'g',
    argument: 'granularity',
    read: (text, warn) => requireSize('granularity', text, warn),
  } satisfies OptionKind<bigint>,
  imageOpts: shared.imageOpts,
  format: shared.shortFormat,
} as const

type BitmapCall = Call<typeof options>

/** The subcommand. */
export const bitmap = defineCommand({
  name: 'bitmap',
  summary: 'add, remove and change bitmaps of what was written',
  details: [
    "actions are done in the order in which they are given; '-g' is how many bytes one bit of a new bitmap stands for;",
    "'-b' and '-F' name the image whose bitmap is merged",
  ],
  options,
  operands: 'filename bitmap',
  run,
})

async function run(call: BitmapCall): Promise<number> {
  const { options, operands } = call
  const actions = actionsOf(call)
  const [filename, name] = operands as readonly [string, string]
  const { format, imageOpts } = options
  const request = { name: filename, format, imageOpts, write: true, extra: { backing: null } }
  const node = await openImage(call, request)
  const source =
    options.source === undefined
      ? node
      : await openImage(call, { name: options.source, format: options.sourceFormat })
  for (const each of actions)
    try {
      await perform(call, node, name, each, source)
    } catch (error) {
      const hint = isBlockError(error) ? error.hint : undefined
      throw new Failure(
        `Operation ${each.operation} on bitmap ${name} failed: ${messageOf(error)}`,
        hint === undefined ? {} : { hint },
      )
    }
  return 0
}

/** The actions, in order. @throws Failure if the command line makes no sense */
function actionsOf({ options, operands }: BitmapCall): readonly Action[] {
  const { add, remove, clear, enable, disable, merge, granularity, source, sourceFormat } = options
  const refuse = (isRefused: unknown, message: string): void => {
    if (isRefused) throw new Failure(message)
  }
  const actions = [add, remove, clear, enable, disable, merge].flatMap((list) => list ?? [])
  refuse(
    actions.length === 0,
    'Need at least one of --add, --remove, --clear, --enable, --disable, or --merge',
  )
  refuse(granularity && !add, 'granularity only supported with --add')
  refuse(sourceFormat !== undefined && source === undefined, '-F only supported with -b')
  refuse(source !== undefined && !merge, 'Merge bitmap source file only supported with --merge')
  refuse(operands.length !== 2, 'Expecting filename and bitmap name')
  return actions.sort((a, b) => a.order - b.order)
}

/** @throws BlockError in QEMU's words */
async function perform(
  { options }: BitmapCall,
  node: BlockNode,
  name: string,
  { operation, source }: Action,
  from: BlockNode,
): Promise<void> {
  const bitmaps = bitmapsOf(node)
  if (operation === 'add') {
    // 0 stands for the default, as in QEMU.
    const granularity = options.granularity ? Number(options.granularity) : undefined
    await bitmaps.add(name, { granularity }).catch((error: unknown) => {
      if (!isBlockError(error, 'ENOTSUP')) throw error
      throw new Failure(`Can't store persistent bitmaps to ${node.name}: Operation not supported`)
    })
    return
  }
  const missing = (wanted: string) => (error: unknown) => {
    throw isBlockError(error, 'ENOTSUP') ? new Failure(`Dirty bitmap '${wanted}' not found`) : error
  }
  if (operation === 'merge') await bitmaps.merge(name, source, from).catch(missing(source))
  else await bitmaps[operation](name).catch(missing(name))
}
