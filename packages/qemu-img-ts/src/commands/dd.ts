/** `dd`: copies a disk, or blocks of it, into a new image. The operands are spelled as those of dd(1). */
import { type BlockNode, CopyMap, copyNodes, messageOf } from '@vmblock/block-core'
import { errorText } from '@vmblock/block-core/late'
import { allocateAligned, isZeroBytes } from '@vmblock/block-core/node'
import { Failure, formatWord, shared } from '@vmblock/cli'
import { openImage } from '../images/image.ts'
import { isZeroWhenNew, makeImage, type NewImage, planImage } from '../images/new-image.ts'
import { filesOf, findSame } from '../images/same-file.ts'
import { type Call, defineCommand } from '../kit/command.ts'
import { INTERRUPTED, runJob } from '../kit/job.ts'
import { MAX_INT, requireSize } from '../kit/size-text.ts'

/** Bytes of a block, unless `bs` says otherwise. */
const BLOCK = 512n
/** Shortest run of zeroes that is left out of data, in bytes: as in `convert`. */
const MIN_SPARSE = 4096

const options = {
  format: shared.shortFormat,
  targetFormat: formatWord('output_fmt', {
    short: 'O',
    newer: ['output-format'],
    help: 'the format of the new image (raw)',
  }),
  forceShare: shared.forceShare,
  imageOpts: shared.imageOpts,
} as const

type DdCall = Call<typeof options>

/** The subcommand. */
export const dd = defineCommand({
  name: 'dd',
  summary: 'copy blocks of a disk into a new image',
  details: [
    'Operands are as for dd: sizes in bytes or with k, M, G, T, P or E. Blocks that skip leaves out count for count, too.',
  ],
  operandHelp: {
    bs: 'bytes of a block (512)',
    count: 'how many blocks (all)',
    skip: 'how many to leave out at the beginning (0)',
    if: 'the image to read',
    of: 'the image to make',
  },
  example: 'dd -O qcow2 bs=1M count=100 if=disk.img of=part.qcow2',
  options,
  operands: '[bs=size] [count=n] [skip=n] if=file of=file',
  run,
})

/** The operands, by name. */
interface Operands {
  bs?: bigint
  count?: bigint
  skip?: bigint
  if?: string
  of?: string
}

async function run(call: DdCall): Promise<number> {
  const { options, images, environment } = call
  const { if: name, of: filename, ...blocks } = readOperands(call)
  if (name === undefined || filename === undefined)
    throw new Failure('Must specify both input and output files')
  const { format, imageOpts, forceShare } = options
  const source = await openImage(call, { name, format, imageOpts, forceShare })
  const range = rangeOf(source, blocks)
  const image = await planTarget(call, filename, range.bytes)
  const same = await findSame(environment, [filename], filesOf(source))
  if (same)
    throw new Failure(
      `${filename}: error while creating output image: '${same.name}' is '${same.called}', which the input is read from`,
    )
  await createTarget(call, image)
  const target = await openImage(call, { name: filename, format: image.format.name, write: true })
  if (range.isBeyond) call.output.error(`${name}: cannot skip to specified offset`)
  await copyBlocks(call, source, target, range)
  return images.close(0)
}

/** @throws Failure at the first operand that is wrong */
function readOperands({ operands, output: { warn } }: DdCall): Operands {
  const read: Operands = {}
  for (const operand of operands) {
    const [, name, text] = /^([^=]*)=(.*)$/s.exec(operand) ?? []
    switch (name) {
      case 'bs':
        read.bs = requireSize('bs', text!, warn, MAX_INT, 1n)
        break
      case 'count':
      case 'skip':
        read[name] = requireSize(name, text!, warn)
        break
      case 'if':
      case 'of':
        read[name] = text!
        break
      default:
        throw new Failure(`unrecognized operand ${name ?? operand}`)
    }
  }
  return read
}

/** The part of the disk that is copied, in bytes. `isBeyond`: it would begin after the end. */
interface CopiedRange {
  readonly from: number
  readonly bytes: number
  readonly isBeyond: boolean
}

function rangeOf({ size }: BlockNode, { bs = BLOCK, count, skip = 0n }: Operands): CopiedRange {
  const end = count !== undefined && count * bs < BigInt(size) ? Number(count * bs) : size
  const from = skip * bs
  const isBeyond = from > BigInt(end)
  return isBeyond
    ? { from: end, bytes: 0, isBeyond }
    : { from: Number(from), bytes: end - Number(from), isBeyond }
}

/** @throws Failure */
async function planTarget({ options, services, output }: DdCall, filename: string, bytes: number) {
  const { targetFormat: format = 'raw' } = options
  if (!services.registry.find(format)) throw new Failure('Unknown file format')
  const image = await planImage(services, { filename, format }, output.warn)
  image.given.set('size', { text: String(bytes), number: BigInt(bytes) })
  return image
}

async function createTarget({ environment, images }: DdCall, image: NewImage): Promise<void> {
  try {
    const created = await makeImage(environment, image)
    // Half an image looks like a whole one. After an interrupt it stays: what was copied so far may be wanted.
    images.ifFailed(async (status) => {
      if (status !== INTERRUPTED) await created.remove().catch(() => undefined)
    })
  } catch (error) {
    throw new Failure(`${image.filename}: error while creating output image: ${messageOf(error)}`)
  }
}

/** Copies all but zeroes, which a new image has already. @throws Failure */
async function copyBlocks(
  call: DdCall,
  node: BlockNode,
  target: BlockNode,
  { from, bytes }: CopiedRange,
): Promise<void> {
  if (bytes === 0) return
  const map = await CopyMap.of({ sources: [{ node, from, bytes }] })
  const alignment = Math.max(MIN_SPARSE, target.limits.requestAlignment)
  const options = {
    map,
    target,
    zeroes: isZeroWhenNew(target) ? ('skip' as const) : ('write' as const),
    sparse: { minimum: MIN_SPARSE, alignment, isZero: isZeroBytes },
    allocate: allocateAligned,
  }
  try {
    await runJob(call, (control) => copyNodes(options, control))
  } catch (error) {
    if (error instanceof Failure) throw error
    const what = messageOf(error).startsWith('error while reading')
      ? 'reading from input'
      : 'writing to output'
    throw new Failure(`error while ${what} image file: ${errorText(error)}`)
  }
}
