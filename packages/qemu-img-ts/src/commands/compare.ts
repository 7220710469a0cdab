/** `compare`: whether two disks have the same content; in strict mode also the same size and allocation. */
import type { BlockNode, ChainStatus } from '@vmblock/block-core'
import { errorText, StatusCursor } from '@vmblock/block-core/late'
import { allocateAligned, equalBytes, isZeroBytes } from '@vmblock/block-core/node'
import { cacheWord, Failure, flag, formatWord, shared, usageFailure } from '@vmblock/cli'
import { openImage, requireCacheMode } from '../images/image.ts'
import { type Call, defineCommand } from '../kit/command.ts'
import { type Progress, startProgress } from '../kit/progress.ts'

/** Exit statuses besides 0 (identical). */
const DIFFERENT = 1
const NOT_OPENED = 2
const STATUS_FAILED = 3
const READ_FAILED = 4

/** Bytes after which progress is updated. QEMU's IO_BUF_SIZE. */
const PIECE = 2 * 1024 * 1024
/** Bytes read at once, few enough to be still in the processor's cache when they are compared. */
const STEP = 256 * 1024
/** Unit in which the offset of a difference is reported, in bytes. */
const SECTOR = 512
/** Percent by which progress must move to be shown. */
const MIN_SKIP = 2

const options = {
  imageOpts: shared.imageOpts,
  format: formatWord('fmt', { short: 'f', newer: ['a-format'], help: 'the format of the first image' }),
  secondFormat: formatWord('fmt', {
    short: 'F',
    newer: ['b-format'],
    help: 'the format of the second image',
  }),
  cache: cacheWord('src_cache', { short: 'T', newer: ['cache'], help: 'how the images are cached' }),
  progress: shared.progress,
  quiet: shared.quiet,
  strict: flag({ short: 's', newer: ['strict'], help: 'also compare sizes, and what is allocated' }),
  forceShare: shared.forceShare,
} as const

type CompareCall = Call<typeof options>

/** The subcommand. */
export const compare = defineCommand({
  name: 'compare',
  summary: 'say whether two disks are the same',
  details: [
    'Compares what guests read. If one disk is larger, the rest of it must read as zeroes. Exit status: 0 they are the',
    'same, 1 they differ, 2 an image cannot be opened, 3 or 4 it cannot be read.',
  ],
  operandHelp: { filename1: 'the first image', filename2: 'the second image' },
  example: 'compare -p old.img new.qcow2',
  options,
  operands: 'filename1 filename2',
  run,
})

async function run(call: CompareCall): Promise<number> {
  const { options, operands } = call
  const [first, second, ...more] = operands
  if (first === undefined || second === undefined || more.length > 0)
    throw usageFailure('Expecting two image file names')
  const progress = startProgress(call, MIN_SKIP)
  const cache = requireCacheMode(options.cache, 'source cache option', { status: NOT_OPENED })
  const open = async (name: string, format: string | undefined): Promise<Disk> => {
    const { imageOpts, forceShare } = options
    try {
      return { name, node: await openImage(call, { name, format, imageOpts, forceShare, cache }) }
    } catch (error) {
      if (!(error instanceof Failure)) throw error
      throw new Failure(error.lines, { status: NOT_OPENED })
    }
  }
  const a = await open(first, options.format)
  const b = await open(second, options.secondFormat)
  return compareDisks(call, a, b, progress)
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
  progress.ofBytes(total)
  progress.set(0)
  if (options.strict && common !== total) {
    say('Strict mode: Image size mismatch!')
    return DIFFERENT
  }
  const advance = (bytes: number): void => progress.advance(bytes, total)
  const [walkA, walkB] = [new Walk(a, options.strict === true), new Walk(b, options.strict === true)]
  const found = await compareRange(walkA, walkB, common, options.strict === true, advance)
  if (found !== undefined) {
    say(found)
    return DIFFERENT
  }
  if (common !== total) {
    say('Warning: Image size mismatch!')
    const content = await findContent(a.node.size > b.node.size ? walkA : walkB, common, advance)
    if (content !== undefined) {
      say(mismatchAt(content))
      return DIFFERENT
    }
  }
  say('Images are identical.')
  return 0
}

const mismatchAt = (offset: number): string => `Content mismatch at offset ${offset}!`

/** The traversal of one disk. */
class Walk {
  readonly disk: Disk
  readonly #cursor: StatusCursor
  readonly #buffer = allocateAligned(STEP)

  /** @param whole whether to get whole runs, since strict mode compares where they end */
  constructor(disk: Disk, whole: boolean) {
    this.disk = disk
    this.#cursor = new StatusCursor(disk.node, { whole })
  }

  /** @throws Failure */
  async statusAt(offset: number): Promise<ChainStatus> {
    const { node, name } = this.disk
    try {
      return await this.#cursor.at(offset, node.size - offset)
    } catch {
      throw new Failure(`Sector allocation test failed for ${name}`, { status: STATUS_FAILED })
    }
  }

  /**
   * Reads at most {@link STEP} bytes, which are valid until the next call.
   *
   * @param piece the start of the piece, for messages
   * @throws Failure
   */
  async read(offset: number, bytes: number, piece: number): Promise<Uint8Array> {
    const into = this.#buffer.subarray(0, bytes)
    try {
      await this.disk.node.read(offset, into)
      return into
    } catch (error) {
      throw new Failure(`Error while reading offset ${piece} of ${this.disk.name}: ${errorText(error)}`, {
        status: READ_FAILED,
      })
    }
  }
}

/** Compares a range. @returns the message about the first difference; undefined if there is none */
async function compareRange(
  a: Walk,
  b: Walk,
  end: number,
  strict: boolean,
  advance: (bytes: number) => void,
): Promise<string | undefined> {
  for (let offset = 0; offset < end; ) {
    const statusA = await a.statusAt(offset)
    const statusB = await b.statusAt(offset)
    let bytes = Math.min(statusA.bytes, statusB.bytes, end - offset)
    if (strict && !sameStatus(a.disk, statusA, b.disk, statusB, offset))
      return `Strict mode: Offset ${offset} block status mismatch!`
    const bothZero = statusA.zero && statusB.zero
    if (!bothZero && (statusA.allocated || statusB.allocated)) {
      bytes = Math.min(bytes, PIECE)
      const different =
        statusA.allocated && statusB.allocated
          ? await firstDifference(a, b, offset, bytes)
          : await firstContent(statusA.allocated ? a : b, offset, bytes)
      if (different !== undefined) return mismatchAt(different)
    }
    offset += bytes
    advance(bytes)
  }
  return undefined
}

/** Reads both disks at the same time; if both fail, the first one's failure is reported. */
async function firstDifference(a: Walk, b: Walk, offset: number, bytes: number): Promise<number | undefined> {
  for (let at = offset; at < offset + bytes; at += STEP) {
    const length = Math.min(STEP, offset + bytes - at)
    const [readA, readB] = await Promise.allSettled([a.read(at, length, offset), b.read(at, length, offset)])
    if (readA.status === 'rejected') throw readA.reason
    if (readB.status === 'rejected') throw readB.reason
    if (equalBytes(readA.value, readB.value)) continue
    const different = readA.value.findIndex((byte, index) => byte !== readB.value[index])
    return at + different - (different % SECTOR)
  }
  return undefined
}

/** Finds the first nonzero byte from `start` to the end. @returns its offset */
async function findContent(
  walk: Walk,
  start: number,
  advance: (bytes: number) => void,
): Promise<number | undefined> {
  for (let offset = start; offset < walk.disk.node.size; ) {
    const status = await walk.statusAt(offset)
    let { bytes } = status
    if (status.allocated && !status.zero) {
      bytes = Math.min(bytes, PIECE)
      const content = await firstContent(walk, offset, bytes)
      if (content !== undefined) return content
    }
    offset += bytes
    advance(bytes)
  }
  return undefined
}

async function firstContent(walk: Walk, offset: number, bytes: number): Promise<number | undefined> {
  for (let at = offset; at < offset + bytes; at += STEP) {
    const data = await walk.read(at, Math.min(STEP, offset + bytes - at), offset)
    if (!isZeroBytes(data)) return at + data.findIndex((byte) => byte !== 0)
  }
  return undefined
}

/** Whether QEMU's status flags are equal, for strict mode; one flag says that a run ends with the disk. */
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
