/** What the commands that read and write have in common: their operands, running and timing a request, its report. */
import { BlockError, type BlockNode, type Disk } from '@vmblock/block-core'
import { MAX_REQUEST } from '@vmblock/block-core/driver'
import { errorText } from '@vmblock/block-core/late'
import { type OptionKind, readBytes } from '@vmblock/cli'
import { type Call, type Outcome, Stop } from '../session/command.ts'
import { hexDump } from '../session/hexdump.ts'
import { parseLengths, parseSize } from '../session/kinds.ts'
import { report } from '../session/report.ts'

type Flags = Record<'b' | 'c' | 'C' | 'f' | 'n' | 'q' | 'u' | 'v' | 'z', OptionKind<true>>

/** The options that requests are made of, and reported by. Each command has some of them. */
type RequestCall = Call<Flags & { P: OptionKind<number> }>

/** A range of the disk, in bytes. */
export interface Range {
  readonly offset: number
  readonly bytes: number
}

/** Part of the data that was read, counted from its start in bytes, which must hold one byte value. */
export interface Expected {
  readonly byte: number
  readonly from: number
  readonly bytes: number
}

/** A request, and what its report says. */
interface Request extends Range {
  /** Its name where it fails. */
  readonly name: string
  /** Its name in the report. */
  readonly operation: 'read' | 'wrote' | 'discard'
  /** Bytes that were read, which `-v` shows. */
  readonly data?: Uint8Array
  readonly expected?: Expected | undefined
  run(): Promise<void>
}

/** Reads the operands `off len`. @throws Stop */
export function readRange({ operands, warn }: Call): Range {
  return { offset: parseSize(operands[0]!, warn), bytes: parseSize(operands[1]!, warn) }
}

/** Refuses a length that no request can have. @param unless what would allow it, for the message @throws Stop */
export function requireLength({ operands }: Call, bytes: number, unless = ''): void {
  if (bytes > MAX_REQUEST)
    throw new Stop(`length cannot exceed ${MAX_REQUEST}${unless}, given ${operands[1]}\n`)
}

/** Reads the operands `off len [len..]`: a vector's buffers are contiguous here, so it is one range. @throws Stop */
export function readVector({ operands: [offset, ...lengths], warn }: Call): Range {
  return { offset: parseSize(offset!, warn), bytes: parseLengths(lengths, warn) }
}

/** Refuses a range that does not consist of sectors of 512 bytes. Its operands were already parsed. @throws Stop */
export function requireSectors({ operands }: Call): void {
  for (const [i, what] of ['offset', 'count'].entries()) {
    const size = readBytes(operands[i]!)
    if (typeof size === 'bigint' && size % 512n !== 0n)
      throw new Stop(`${size} is not a sector-aligned value for '${what}'\n`)
  }
}

/**
 * Makes the request of a command that reads.
 *
 * @param expected what to verify; by default `-P` for the whole range
 */
export function reading(name: string, call: RequestCall, range: Range, expected?: Expected): Request {
  const { session, node, options } = call
  const { offset, bytes } = range
  // Filled with a byte that shows what a driver left untouched.
  const data = session.buffer(bytes, 0xab)
  const whole = options.P === undefined ? undefined : { byte: options.P, from: 0, bytes }
  const run = () => (options.b ? vmStateNode(node).readVmState(offset, data) : node.read(offset, data))
  return { name, operation: 'read', ...range, data, expected: expected ?? whole, run }
}

/**
 * Makes the request of a command that writes.
 *
 * @param content the data; by default a pattern, or zeroes with `-z`
 */
export function writing(name: string, call: RequestCall, range: Range, content?: Uint8Array): Request {
  const { session, node, options } = call
  const { offset, bytes } = range
  const request = { name, operation: 'wrote', ...range } as const
  const fua = options.f === true
  if (options.z) {
    const flags = { fua, mayUnmap: options.u === true, noFallback: options.n === true }
    return { ...request, run: () => node.writeZeroes(offset, bytes, flags) }
  }
  const data = content ?? session.buffer(bytes, options.P ?? 0xcd)
  if (options.b) return { ...request, run: () => saveVmState(node, offset, data) }
  if (options.c) return { ...request, run: () => node.writeCompressed(offset, data) }
  return { ...request, run: () => node.write(offset, data, { fua }) }
}

/** Runs a request, verifies what it read, and reports. @throws Stop */
export async function perform(call: RequestCall, request: Request): Promise<Outcome> {
  let nanoseconds: number
  try {
    nanoseconds = await call.session.timed(() => start(call, request))
  } catch (error) {
    throw new Stop(failureOf(request, error))
  }
  const wrong = mismatchOf(request)
  call.print(wrong + reportOf(call, request, nanoseconds))
  return wrong === '' ? 'ok' : 'failed'
}

/** Lets a request run beside later commands. Its result is printed when it completes, and is no failure. */
export function submit(call: RequestCall, request: Request): Outcome {
  const { session } = call
  const { now } = session.services
  const began = now()
  session.submit(async () => {
    try {
      await start(call, request)
    } catch (error) {
      return failureOf(request, error)
    }
    const nanoseconds = Math.max(1, now() - began)
    return mismatchOf(request) + reportOf(call, request, nanoseconds)
  })
  return 'ok'
}

/**
 * Runs a request, unless it goes beyond the end of the disk. Formats refuse that themselves; a file or a null device as
 * the top node would grow, which QEMU does not let users of a device do.
 *
 * @throws BlockError EIO
 */
async function start({ node, options }: RequestCall, { offset, bytes, run }: Request): Promise<void> {
  if (!options.b && (offset > node.size || node.size - offset < bytes))
    throw new BlockError('EIO', `request [${offset}, +${bytes}) is outside the disk`, {
      node: node.name,
      offset,
    })
  await run()
}

const failureOf = ({ name }: Request, error: unknown): string => `${name} failed: ${errorText(error)}\n`

/** The message about data that is not as expected; empty if it is. */
function mismatchOf({ offset, data, expected }: Request): string {
  if (!data || !expected) return ''
  const { byte, from, bytes } = expected
  for (let i = from; i < from + bytes; i++)
    if (data[i] !== byte) return `Pattern verification failed at offset ${offset + from}, ${bytes} bytes\n`
  return ''
}

function reportOf({ options }: RequestCall, request: Request, nanoseconds: number): string {
  if (options.q) return ''
  const dump = options.v && request.data ? hexDump(request.data, request.offset) : ''
  return dump + report({ ...request, nanoseconds, machine: options.C === true })
}

/** The node that has a machine-state area: filters and raw leave it to the node below. */
function vmStateNode(node: BlockNode): BlockNode {
  let owner = node
  while (!owner.can('readVmState') && owner.file) owner = owner.file.node
  return owner
}

/** Writes to the machine-state area; durably, if the write cache is off. */
async function saveVmState(node: Disk, offset: number, from: Uint8Array): Promise<void> {
  await vmStateNode(node).writeVmState(offset, from)
  if (!node.writeCache) await node.flush()
}
