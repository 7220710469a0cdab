/** `map`: shows where a disk's content is: the layer of the backing chain, and the offset in its file. */
import { type BlockNode, backingOf, skipFilters } from '@vmblock/block-core'
import { canHaveBacking } from '@vmblock/block-core/driver'
import { errorText, LookAhead } from '@vmblock/block-core/late'
import { Failure, isJson, type Output, oneImage, shared } from '@vmblock/cli'
import { exactBytes, openImage } from '../images/image.ts'
import { type Call, defineCommand } from '../kit/command.ts'
import { sizeOption } from '../kit/size-text.ts'

const options = {
  imageOpts: shared.imageOpts,
  format: shared.format,
  start: sizeOption('start offset', {
    short: 's',
    long: 'start-offset',
    argument: 'offset',
    help: 'where in the disk to begin (0)',
  }),
  length: sizeOption('max length', {
    short: 'l',
    long: 'max-length',
    argument: 'len',
    help: 'how many bytes of the disk (up to its end)',
  }),
  output: shared.output,
  forceShare: shared.forceShare,
} as const

type MapCall = Call<typeof options>

/** The subcommand. */
export const map = defineCommand({
  name: 'map',
  summary: 'show where the content of a disk is',
  details: [
    'Prints runs of the disk that hold data: where they are in the disk, how long, where in which file. In JSON also',
    'those that do not: what reads as zeroes, and how deep in the chain of backing files each run is.',
  ],
  operandHelp: { filename: 'the image' },
  example: 'map --output=json disk.qcow2',
  options,
  operands: 'filename',
  run,
})

/** A run of bytes of the same kind. */
interface MapEntry {
  readonly start: number
  readonly length: number
  /** 0: the image itself, 1: its backing file, ... */
  readonly depth: number
  readonly present: boolean
  readonly zero: boolean
  readonly data: boolean
  /** Offset in the file, in bytes. */
  readonly offset?: number | undefined
  readonly filename?: string | undefined
}

/** The entry that QEMU prints for an empty range. */
const NOTHING = { length: 0, depth: 0, present: false, zero: false, data: false }

async function run(call: MapCall): Promise<number> {
  const { options, output } = call
  const name = oneImage(call)
  const json = isJson(options.output)
  const { format, imageOpts, forceShare } = options
  const node = await openImage(call, { name, format, imageOpts, forceShare })
  output.print(json ? '[' : `${columns('Offset', 'Length', 'Mapped to')}File\n`)
  const start = exactBytes(options.start ?? 0n)
  const end =
    options.length === undefined ? node.size : Math.min(start + exactBytes(options.length), node.size)
  const print = json ? jsonEntry : (entry: MapEntry) => humanEntry(entry, output)
  let current: MapEntry = { ...NOTHING, start }
  const look = new LookAhead()
  while (current.start + current.length < end) {
    const offset = current.start + current.length
    const asked = Math.min(end - offset, look.bytes)
    const next = await entryAt(node, offset, asked)
    look.saw(next.length, asked)
    if (merges(current, next, json)) current = { ...current, length: current.length + next.length }
    else {
      if (current.length > 0) output.print(`${print(current)}${json ? ',\n' : ''}`)
      current = json ? next : withoutKinds(next)
    }
  }
  output.print(print(current))
  if (json) output.print(']\n')
  return 0
}

/** Walks down the backing chain to the layer that provides the range. */
async function entryAt(top: BlockNode, start: number, bytes: number): Promise<MapEntry> {
  let length = bytes
  for (let node = skipFilters(top), depth = 0; ; depth++) {
    const status = await node.blockStatus(start, length).catch((error: unknown) => {
      throw new Failure(`Could not read file metadata: ${errorText(error)}`)
    })
    length = status.bytes
    const backing = backingOf(node)
    // If no layer below reaches this offset, an unallocated range reads as zeroes.
    const missing = !status.allocated && canHaveBacking(node) && (!backing || start >= backing.size)
    if (status.data || status.zero || missing || !backing) {
      const { host } = status
      // The offset in a protocol node is the offset in its file.
      const holdsBytes = !host && status.allocated && node.driver.kind === 'protocol'
      return {
        start,
        length,
        depth,
        present: status.allocated,
        zero: status.zero || (missing && !status.data),
        data: status.data,
        offset: holdsBytes ? start : host?.offset,
        filename: holdsBytes ? node.filename : host?.child.filename,
      }
    }
    node = skipFilters(backing)
  }
}

/** Whether two entries print as one. */
function merges(current: MapEntry, found: MapEntry, json: boolean): boolean {
  const next = json ? found : withoutKinds(found)
  if (current.length === 0) return false
  const { zero, data, depth, present, filename, offset } = current
  if (zero !== next.zero || data !== next.data || depth !== next.depth || present !== next.present)
    return false
  if (filename !== next.filename) return false
  if (offset === undefined || next.offset === undefined) return offset === next.offset
  return offset + current.length === next.offset
}

/** The human format shows only data, so all other entries are equal. */
const withoutKinds = (entry: MapEntry): MapEntry =>
  entry.data && !entry.zero ? entry : { ...entry, data: false, zero: true }

const columns = (...texts: string[]): string => texts.map((text) => text.padEnd(16)).join('')

/** C's `%#x`. */
const hex = (value: number): string => (value === 0 ? '0' : `0x${value.toString(16)}`)

function humanEntry(entry: MapEntry, output: Output): string {
  if (!entry.data || entry.zero) return ''
  if (entry.offset === undefined)
    throw new Failure('File contains external, encrypted or compressed clusters.')
  return `${columns(hex(entry.start), hex(entry.length), hex(entry.offset))}${output.shown(entry.filename ?? '')}\n`
}

function jsonEntry({ start, length, depth, present, zero, data, offset }: MapEntry): string {
  const offsetText = offset === undefined ? '' : `, "offset": ${offset}`
  return (
    `{ "start": ${start}, "length": ${length}, "depth": ${depth}, "present": ${present}, ` +
    `"zero": ${zero}, "data": ${data}${offsetText}}`
  )
}
