/** `measure`: says how large a new image would be, empty or as a copy of another one. */
import { type BlockNode, type MeasureReport, measureImage, messageOf } from '@vmblock/block-core'
import { Failure, formatWord, isJson, jsonOutput, shared } from '@vmblock/cli'
import { exactBytes, openImage } from '../images/image.ts'
import { openSnapshot, snapshotParam } from '../images/snapshot-param.ts'
import { type Call, defineCommand } from '../kit/command.ts'
import { optionList, optionValue, readOptionList } from '../kit/option-list.ts'
import { sizeOption } from '../kit/size-text.ts'

const options = {
  output: shared.output,
  targetFormat: formatWord('output_fmt', {
    short: 'O',
    newer: ['target-format'],
    help: 'the format of the new image (raw)',
  }),
  list: { ...optionList, newer: ['options', 'target-format-options'] },
  size: sizeOption('image size', {
    long: 'size',
    newer: ['s'],
    argument: 'N',
    help: 'the size of a new disk without data, in place of an image to copy',
  }),
  imageOpts: { ...shared.imageOpts, newer: ['source-image-opts'] },
  format: { ...shared.shortFormat, newer: ['format', 'source-format'] },
  snapshot: snapshotParam,
  forceShare: shared.forceShare,
} as const

type MeasureCall = Call<typeof options>

/** The subcommand. */
export const measure = defineCommand({
  name: 'measure',
  summary: 'say how large a new image would be',
  details: [
    'Prints how many bytes the file of a new image would take: with the data that is there now, and when all of the',
    'disk has been written. The target is described as for convert.',
  ],
  operandHelp: { filename: 'the image that is to be copied' },
  example: 'measure -O qcow2 disk.img',
  options,
  operands: '[filename]',
  run,
})

async function run(call: MeasureCall): Promise<number> {
  const { options, operands, output } = call
  const json = isJson(options.output)
  const [name, ...more] = operands
  if (more.length > 0) throw new Failure('At most one filename argument is allowed.')
  if (name === undefined) {
    if (options.imageOpts || options.format !== undefined || options.snapshot !== undefined)
      throw new Failure('--image-opts, -f, and -l require a filename argument.')
    if (options.size === undefined) throw new Failure('Either --size N or one filename must be specified.')
  } else if (options.size !== undefined)
    throw new Failure('--size N cannot be used together with a filename.')
  const source = name === undefined ? undefined : await openSource(call, name)
  const report = await measureNew(call, source)
  output.print(json ? jsonOutput(jsonOf(report)) : humanOf(report))
  return 0
}

async function openSource(call: MeasureCall, name: string): Promise<BlockNode> {
  const { format, imageOpts, forceShare, snapshot } = call.options
  const node = await openImage(call, { name, format, imageOpts, forceShare })
  if (snapshot !== undefined) return openSnapshot(call.images, [node], snapshot)
  return node
}

/** @throws Failure in QEMU's words */
async function measureNew(call: MeasureCall, source: BlockNode | undefined): Promise<MeasureReport> {
  const { options, services, output } = call
  const { targetFormat: name = 'raw', list = '', size } = options
  const format = services.registry.find(name)
  if (!format) throw new Failure(`Unknown file format '${name}'`)
  const creation = await format.creation?.()
  if (!creation) throw new Failure(`Format driver '${name}' does not support image creation`)
  const table = { ...services.registry.find('file')?.createFileOptions, ...creation.options }
  const given = (() => {
    try {
      return readOptionList(list, table, output.warn)
    } catch (error) {
      if (!(error instanceof Failure)) throw error
      for (const line of error.lines) output.error(line)
      if (error.options.hint !== undefined) output.note(error.options.hint)
      throw new Failure(`Invalid options for file format '${name}'`)
    }
  })()
  const own = [...given].filter(([key]) => Object.hasOwn(creation.options, key))
  const values = Object.fromEntries(own.map(([key, option]) => [key, optionValue(option)]))
  try {
    return await measureImage(
      format,
      size === undefined ? values : { ...values, size: exactBytes(size) },
      source,
    )
  } catch (error) {
    // QEMU does not name the parameter here.
    const [, value] = /^Parameter 'preallocation' does not accept value '(.*)'$/.exec(messageOf(error)) ?? []
    throw new Failure(value === undefined ? messageOf(error) : `invalid parameter value: ${value}`)
  }
}

const humanOf = ({ requiredBytes, fullyAllocatedBytes, bitmapBytes }: MeasureReport): string =>
  `required size: ${requiredBytes}\nfully allocated size: ${fullyAllocatedBytes}\n` +
  (bitmapBytes === undefined ? '' : `bitmaps size: ${bitmapBytes}\n`)

const jsonOf = ({ requiredBytes, fullyAllocatedBytes, bitmapBytes }: MeasureReport): object => ({
  ...(bitmapBytes !== undefined && { bitmaps: bitmapBytes }),
  required: requiredBytes,
  'fully-allocated': fullyAllocatedBytes,
})
