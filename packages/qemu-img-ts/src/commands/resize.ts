/** `resize`: changes the size of a disk. */
import { type BlockNode, isBlockError, messageOf, type Preallocation } from '@vmblock/block-core'
import { choice, Failure, flag, shared, usageFailure } from '@vmblock/cli'
import { exactBytes, openImage } from '../images/image.ts'
import { type Call, defineCommand } from '../kit/command.ts'
import { readOption } from '../kit/option-list.ts'

const preallocation = choice<Preallocation>(
  ['off', 'metadata', 'falloc', 'full'],
  (text) => new Failure(`Invalid preallocation mode '${text}'`),
  {
    long: 'preallocation',
    argument: 'prealloc',
    help: 'how what is added is allocated: off (the default), metadata, falloc or full',
  },
)

const options = {
  imageOpts: shared.imageOpts,
  format: shared.shortFormat,
  preallocation,
  quiet: shared.quiet,
  shrink: flag({ long: 'shrink', help: 'allow to cut off the end of the disk, and what is there' }),
} as const

type ResizeCall = Call<typeof options>

/** The subcommand. */
export const resize = defineCommand({
  name: 'resize',
  summary: 'change the size of a disk',
  details: [
    'Changes how large the disk is for guests. What is added reads as zeroes. Partitions and file systems inside stay as',
    'they are: shrink them before the disk, let them grow after it.',
  ],
  operandHelp: {
    filename: 'the image',
    size: 'the new size, or with + or - in front how much larger or smaller: bytes, or larger units with k, M, G, T, P or E',
  },
  example: 'resize disk.qcow2 +10G',
  options,
  operands: 'filename [+|-]size',
  lastIsOperand: true,
  run,
})

async function run(call: ResizeCall): Promise<number> {
  const { options, operands, output } = call
  const [filename, sizeText, ...more] = operands
  if (filename === undefined || sizeText === undefined || more.length > 0)
    throw usageFailure(operands.length < 2 ? 'Not enough arguments' : 'Expecting image file name and size')
  const sign = /^[+-]/.exec(sizeText)?.[0]
  const given = readOption('size', sign ? sizeText.slice(1) : sizeText, 'size', output.warn)
  const bytes = BigInt.asIntN(64, given.number!)
  const { format, imageOpts } = options
  const node = await openImage(call, { name: filename, format, imageOpts, write: true })
  const current = BigInt(node.size)
  const size = sign === '+' ? current + bytes : sign === '-' ? current - bytes : bytes
  await resizeNode(call, node, BigInt.asIntN(64, size))
  if (!options.quiet) output.print('Image resized.\n')
  return 0
}

async function resizeNode({ options, output }: ResizeCall, node: BlockNode, size: bigint): Promise<void> {
  const mode = options.preallocation ?? 'off'
  if (size <= 0n) throw new Failure('New image size must be positive')
  if (size <= BigInt(node.size) && mode !== 'off')
    throw new Failure('Preallocation can only be used for growing images')
  if (size < BigInt(node.size) && !options.shrink) {
    output.error('Use the --shrink option to perform a shrink operation.')
    output.warn(
      "Shrinking an image will delete all data beyond the shrunken image's end. " +
        'Before performing such an operation, make sure there is no important data there.',
    )
    throw new Failure([])
  }
  try {
    await node.truncate(exactBytes(size), { exact: true, preallocation: mode })
  } catch (error) {
    const hint = isBlockError(error) ? error.hint : undefined
    throw new Failure(messageOf(error), hint === undefined ? {} : { hint })
  }
}
