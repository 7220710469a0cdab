/** `compare`: whether two disks have the same content; in strict mode also the same size and allocation. */
import { type BlockNode, type ChainStatus, chainStatus, errorText, isZero } from '@vmblock/block-core'
import { type Call, defineCommand, flag, shared, word } from '../command.ts'
import { openImage, requireCacheMode, withImage } from '../image.ts'
import { Failure, usageFailure } from '../output.ts'
import type { Progress } from '../progress.ts'
import { withProgress } from '../with-progress.ts'

/** Exit statuses beside 0 (identical). */
const DIFFERENT = 1
const NOT_OPENED = 2
const STATUS_FAILED = 3
const READ_FAILED = 4

/** Bytes that are read at once. QEMU's IO_BUF_SIZE. */
const PIECE = 2 * 1024 * 1024
/** Bytes in which the place of a difference is told. */
const SECTOR = 512
/** Percent by which progress must move to be shown. */
const MIN_SKIP = 2

const options = {
  imageOpts: shared.imageOpts,
  format: shared.shortFormat,
  secondFormat: word('fmt', { short: 'F' }),
  cache: word('src_cache', { short: 'T' }),
  progress: shared.progress,
  quiet: shared.quiet,
  strict: flag({ short: 's' }),
  forceShare: shared.forceShare,
} as const

type CompareCall = Call<typeof options>

/** The subcommand. */
export const compare = defineCommand({
  name: 'compare',
  summary: 'say whether two disks are the same',
  options,
  operands: 'filename1 filename2',
  run,
})

async function run(call: CompareCall): Promise<number> {
  const { options, operands } = call
  const [first, second, ...more] = operands
  if (first === undefined || second === undefined || more.length > 0)
    throw usageFailure('Expecting two image file names')
  const shown = options.progress === true && !options.quiet
  return withProgress(call, { shown, minSkip: MIN_SKIP }, async (progress) => {
    const cache = requireCacheMode(options.cache, 'source cache option', { status: NOT_OPENED })
    const open = async (name: string, format: string | undefined): Promise<BlockNode> => {
      const { imageOpts, forceShare } = options
      try {
        return await openImage(call, { name, format, imageOpts, forceShare, cache })
      } catch (error) {
        if (!(error instanceof Failure)) throw error
        throw new Failure(error.lines, { status: NOT_OPENED })
      }
    }
    const a = await open(first, options.format)
    return withImage(call, a, async () => {
      const b = await open(second, options.secondFormat)
      return withImage(call, b, () =>
        compareDisks(call, { name: first, node: a }, { name: second, node: b }, progress),
      )
    })
  })
}

/** One of the two disks. */
interface Disk {
  readonly name: string
  readonly node: BlockNode
}

async function compareDisks(call: CompareCall, a: Disk, b: Disk, progress: Progress): Promise<number> {
  const { options, output } = call
  const say = (line: string): void => {
    if (!options.quiet) output.print(`${line}\n`)
  }
  const common = Math.min(a.node.size, b.node.size)
  const total = Math.max(a.node.size, b.node.size)
  progress.set(0)
  if (options.strict && common !== total) {
    say('Strict mode: Image size mismatch!')
    return DIFFERENT
  }
  const buffers = [new Uint8Array(PIECE), new Uint8Array(PIECE)] as const
  const found = await compareRange(a, b, common, options.strict === true, buffers, (bytes) =>
    progress.advance(bytes, total),
  )
  if (found !== undefined) {
    say(found)
    return DIFFERENT
  }
  if (common !== total) {
    say('Warning: Image size mismatch!')
    const longer = a.node.size > b.node.size ? a : b
    const content = await findContent(longer, common, buffers[0], (bytes) => progress.advance(bytes, total))
    if (content !== undefined) {
      say(mismatchAt(content))
      return DIFFERENT
    }
  }
  say('Images are identical.')
  return 0
}

const mismatchAt = (offset: number): string => `Content mismatch at offset ${offset}!`

/** @returns what to say of the first difference */
async function compareRange(
  a: Disk,
  b: Disk,
  end: number,
  strict: boolean,
  [bufferA, bufferB]: readonly [Uint8Array, Uint8Array],
  advance: (bytes: number) => void,
): Promise<string | undefined> {
  for (let offset = 0; offset < end; ) {
    const statusA = await statusOf(a, offset)
    const statusB = await statusOf(b, offset)
    let bytes = Math.min(statusA.bytes, statusB.bytes)
    if (strict && !sameStatus(a, statusA, b, statusB, offset))
      return `Strict mode: Offset ${offset} block status mismatch!`
    const bothZero = statusA.zero && statusB.zero
    if (!bothZero && (statusA.allocated || statusB.allocated)) {
      bytes = Math.min(bytes, PIECE)
      const different =
        statusA.allocated && statusB.allocated
          ? await firstDifference(a, b, offset, bufferA.subarray(0, bytes), bufferB.subarray(0, bytes))
          : await firstContent(statusA.allocated ? a : b, offset, bufferA.subarray(0, bytes))
      if (different !== undefined) return mismatchAt(different)
    }
    offset += bytes
    advance(bytes)
  }
  return undefined
}

/** Reads both, at the same time; a failure of the first one is told first. */
async function firstDifference(
  a: Disk,
  b: Disk,
  offset: number,
  fromA: Uint8Array,
  fromB: Uint8Array,
): Promise<number | undefined> {
  const [readA, readB] = await Promise.allSettled([read(a, offset, fromA), read(b, offset, fromB)])
  for (const outcome of [readA, readB]) if (outcome.status === 'rejected') throw outcome.reason
  const at = differsAt(fromA, fromB)
  return at === undefined ? undefined : offset + at - (at % SECTOR)
}

/** Index of the first byte that differs; both are equally long and begin at multiples of four bytes. */
function differsAt(a: Uint8Array, b: Uint8Array): number | undefined {
  const words = Math.floor(a.length / 4)
  const wordsA = new Int32Array(a.buffer, a.byteOffset, words)
  const wordsB = new Int32Array(b.buffer, b.byteOffset, words)
  let word = 0
  while (word < words && wordsA[word] === wordsB[word]) word++
  let at = word * 4
  while (at < a.length && a[at] === b[at]) at++
  return at === a.length ? undefined : at
}

/** Offset of the first byte from `start` to the end that is not zero. */
async function findContent(
  disk: Disk,
  start: number,
  buffer: Uint8Array,
  advance: (bytes: number) => void,
): Promise<number | undefined> {
  for (let offset = start; offset < disk.node.size; ) {
    const status = await statusOf(disk, offset)
    let { bytes } = status
    if (status.allocated && !status.zero) {
      bytes = Math.min(bytes, buffer.length)
      const content = await firstContent(disk, offset, buffer.subarray(0, bytes))
      if (content !== undefined) return content
    }
    offset += bytes
    advance(bytes)
  }
  return undefined
}

async function firstContent(disk: Disk, offset: number, buffer: Uint8Array): Promise<number | undefined> {
  await read(disk, offset, buffer)
  return isZero(buffer) ? undefined : offset + buffer.findIndex((byte) => byte !== 0)
}

async function read(disk: Disk, offset: number, into: Uint8Array): Promise<void> {
  try {
    await disk.node.read(offset, into)
  } catch (error) {
    throw new Failure(`Error while reading offset ${offset} of ${disk.name}: ${errorText(error)}`, {
      status: READ_FAILED,
    })
  }
}

async function statusOf({ node, name }: Disk, offset: number): Promise<ChainStatus> {
  try {
    return await chainStatus(node, offset, node.size - offset)
  } catch {
    throw new Failure(`Sector allocation test failed for ${name}`, { status: STATUS_FAILED })
  }
}

/** Strict mode compares QEMU's status flags, one of which says that a run ends with the disk. */
function sameStatus(a: Disk, statusA: ChainStatus, b: Disk, statusB: ChainStatus, offset: number): boolean {
  const flags = (disk: Disk, status: ChainStatus): string =>
    [
      status.allocated,
      status.data,
      status.zero,
      status.host !== undefined,
      offset + status.bytes === disk.node.size,
    ].join()
  return flags(a, statusA) === flags(b, statusB)
}
