/** `bitmap`: adds, removes and changes the dirty bitmaps of an image. */
import { type BlockNode, bitmapsOf, isBlockError, messageOf } from '@vmblock/block-core'
import { Failure, fileWord, formatWord, type OptionKind, type Spelling, shared } from '@vmblock/cli'
import { openImage } from '../images/image.ts'
import { type Call, defineCommand } from '../kit/command.ts'
import { requireSize } from '../kit/size-text.ts'

/** One thing to be done. */
interface Action {
  readonly operation: 'add' | 'remove' | 'remove-all' | 'clear' | 'enable' | 'disable' | 'merge'
  /** The bitmap to merge. */
  readonly source: string
  /** Actions are done in the order in which they were given, whatever their options are. */
  readonly order: number
}

let given = 0

const action = (
  operation: Action['operation'],
  help: string,
  argument?: string,
  spelling: Spelling = { long: operation },
): OptionKind<readonly Action[]> => ({
  ...spelling,
  argument,
  help,
  read: (source, _warn, before = []) => [...before, { operation, source, order: given++ }],
})

const options = {
  merge: action('merge', 'add what another bitmap has recorded', 'source_bitmap'),
  add: action('add', 'make the bitmap, which records writes from now on'),
  remove: action('remove', 'delete the bitmap'),
  removeAll: action('remove-all', 'delete all bitmaps; the name of one may be left out then', undefined, {
    newer: ['remove-all'],
  }),
  clear: action('clear', 'forget what it has recorded'),
  enable: action('enable', 'let it record writes'),
  disable: action('disable', 'let it record nothing more'),
  source: fileWord('source_file', {
    short: 'b',
    long: 'source-file',
    help: 'the image whose bitmap --merge takes; without it, the image itself',
  }),
  sourceFormat: formatWord('source_fmt', {
    short: 'F',
    long: 'source-format',
    help: 'the format of that image',
  }),
  granularity: {
    short: 'g',
    long: 'granularity',
    argument: 'granularity',
    help: 'with --add: how many bytes one bit stands for (64k)',
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
    'A bitmap inside an image records which parts of the disk were written since it was made or cleared, for',
    'incremental backups. Several actions are done in the order in which they are given.',
  ],
  operandHelp: { filename: 'the image', bitmap: 'the name of the bitmap' },
  example: 'bitmap --add disk.qcow2 monday',
  options,
  operands: 'filename [bitmap]',
  run,
})

async function run(call: BitmapCall): Promise<number> {
  const { options, operands } = call
  const actions = actionsOf(call)
  const [filename, name] = operands as readonly [string, string?]
  const { format, imageOpts } = options
  const request = { name: filename, format, imageOpts, write: true, extra: { backing: null } }
  const node = await openImage(call, request)
  const source =
    options.source === undefined
      ? node
      : await openImage(call, { name: options.source, format: options.sourceFormat })
  for (const each of actions)
    try {
      await perform(call, node, name ?? '', each, source)
    } catch (error) {
      const hint = isBlockError(error) ? error.hint : undefined
      throw new Failure(
        `Operation ${each.operation}${name === undefined ? '' : ` on bitmap ${name}`} failed: ${messageOf(error)}`,
        hint === undefined ? {} : { hint },
      )
    }
  return 0
}

/** The actions, in order. @throws Failure if the command line makes no sense */
function actionsOf({ options, operands }: BitmapCall): readonly Action[] {
  const { add, remove, removeAll, clear, enable, disable, merge, granularity, source, sourceFormat } = options
  const refuse = (isRefused: unknown, message: string): void => {
    if (isRefused) throw new Failure(message)
  }
  const actions = [add, remove, removeAll, clear, enable, disable, merge].flatMap((list) => list ?? [])
  refuse(
    actions.length === 0,
    'Need at least one of --add, --remove, --clear, --enable, --disable, or --merge',
  )
  refuse(granularity && !add, 'granularity only supported with --add')
  refuse(sourceFormat !== undefined && source === undefined, '-F only supported with -b')
  refuse(source !== undefined && !merge, 'Merge bitmap source file only supported with --merge')
  const needsName = actions.some(({ operation }) => operation !== 'remove-all')
  refuse(
    needsName ? operands.length !== 2 : operands.length < 1 || operands.length > 2,
    needsName ? 'Expecting filename and bitmap name' : 'Expecting filename',
  )
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
  if (operation === 'remove-all') {
    for (const { name } of await bitmaps.list()) await bitmaps.remove(name)
    return
  }
  const missing = (wanted: string) => (error: unknown) => {
    throw isBlockError(error, 'ENOTSUP') ? new Failure(`Dirty bitmap '${wanted}' not found`) : error
  }
  if (operation === 'merge') await bitmaps.merge(name, source, from).catch(missing(source))
  else await bitmaps[operation](name).catch(missing(name))
}
