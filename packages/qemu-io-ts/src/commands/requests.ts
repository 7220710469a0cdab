/** What the commands that read and write have in common: their operands, running and timing a request, its report. */
import { BlockError, type BlockNode, errorText, MAX_REQUEST } from '@vmblock/block-core'
import { type flag, type OptionsOf, readBytes } from '@vmblock/cli'
import { type Call, type Outcome, Stop } from '../session/command.ts'
import { hexDump } from '../session/hexdump.ts'
import { parseLengths, parseSize, type pattern } from '../session/kinds.ts'
import { report } from '../session/report.ts'

type Flag = ReturnType<typeof flag>

/** Options that decide what is said of a request: `-C`, `-q`, `-v`. */
type ReportOptions = OptionsOf<{ C: Flag; q: Flag; v: Flag }>

type Calling = Pick<Call, 'session' | 'operands' | 'warn' | 'print'> & { readonly options: ReportOptions }

/** A range of the disk, in bytes. */
export interface Range {
  readonly offset: number
  readonly bytes: number
}

/** A request, and what its report says. */
export interface Request extends Range {
  /** Its name where it fails. */
  readonly name: string
  /** Its name in the report. */
  readonly operation: 'read' | 'wrote' | 'discard'
  /** Bytes that were read, which `-v` shows. */
  readonly data?: Uint8Array
  /** Part of `data` that must hold one byte value: `from` is counted from its start. */
  readonly expect?: { readonly byte: number; readonly from: number; readonly bytes: number } | undefined
  run(): Promise<void>
}

/** Reads the operands `off len`. @throws Stop */
export function readRange({ operands, warn }: Pick<Call, 'operands' | 'warn'>): Range {
  return { offset: parseSize(operands[0]!, warn), bytes: parseSize(operands[1]!, warn) }
}

/** Refuses a length that no request can have. @param unless what would allow it, for the message @throws Stop */
export function requireLength({ operands }: Pick<Call, 'operands'>, bytes: number, unless = ''): void {
  if (bytes > MAX_REQUEST)
    throw new Stop(`length cannot exceed ${MAX_REQUEST}${unless}, given ${operands[1]}\n`)
}

/** Reads the operands `off len [len..]`; the buffers of a vector are contiguous here, so they are one request. @throws Stop */
export function readVector({ operands: [offset, ...lengths], warn }: Pick<Call, 'operands' | 'warn'>): Range {
  return { offset: parseSize(offset!, warn), bytes: parseLengths(lengths, warn) }
}

/** The byte that shows what a driver left untouched of a buffer to read into. */
export const UNREAD = 0xab

/** The byte that is written if no pattern is given. */
export const DEFAULT_PATTERN = 0xcd

/** The request of `readv` and `aio_read`. @throws Stop */
export function readRequest(
  name: string,
  call: Pick<Call<{ P: typeof pattern }>, 'session' | 'node' | 'options' | 'operands' | 'warn'>,
): Request {
  const { session, node, options } = call
  const { P } = options
  const range = readVector(call)
  const { offset, bytes } = range
  const data = session.buffer(bytes, UNREAD)
  const expect = P === undefined ? undefined : { byte: P, from: 0, bytes }
  return {
    name,
    operation: 'read',
    ...range,
    data,
    expect,
    async run() {
      within(node, range)
      await node.read(offset, data)
    },
  }
}

/** The request of `writev` and `aio_write` with data. */
export function writeRequest(
  name: string,
  {
    session,
    node,
    options: { P, f },
  }: Pick<Call<{ P: typeof pattern; f: Flag }>, 'session' | 'node' | 'options'>,
  range: Range,
): Request {
  const data = session.buffer(range.bytes, P ?? DEFAULT_PATTERN)
  return {
    name,
    operation: 'wrote',
    ...range,
    async run() {
      within(node, range)
      await node.write(range.offset, data, { fua: f === true })
    },
  }
}

/** Refuses a range that does not consist of sectors of 512 bytes. Its operands were already parsed. @throws Stop */
export function requireSectors({ operands }: Pick<Call, 'operands'>): void {
  for (const [i, what] of ['offset', 'count'].entries()) {
    const size = readBytes(operands[i]!)
    if (typeof size === 'bigint' && size % 512n !== 0n)
      throw new Stop(`${size} is not a sector-aligned value for '${what}'\n`)
  }
}

/** Runs a request, verifies what it read, and reports. @throws Stop */
export async function perform({ session, options, print }: Calling, request: Request): Promise<Outcome> {
  let nanoseconds: number
  try {
    nanoseconds = await session.timed(() => request.run())
  } catch (error) {
    throw new Stop(failureOf(request, error))
  }
  const wrong = mismatch(request)
  print(wrong + reportOf(request, options, nanoseconds))
  return wrong === '' ? 'ok' : 'failed'
}

/** Starts a request that runs beside later commands. Its result is printed when it completes, and is no failure. */
export function submit({ session, options }: Calling, request: Request): Outcome {
  const { now } = session.services
  const start = now()
  session.submit(async () => {
    try {
      await request.run()
    } catch (error) {
      return failureOf(request, error)
    }
    const nanoseconds = Math.max(1, now() - start)
    return mismatch(request) + reportOf(request, options, nanoseconds)
  })
  return 'ok'
}

const failureOf = ({ name }: Request, error: unknown): string => `${name} failed: ${errorText(error)}\n`

/** The message about data that is not as expected; empty if it is. */
function mismatch({ offset, data, expect }: Request): string {
  if (!data || !expect) return ''
  const { byte, from, bytes } = expect
  for (let i = from; i < from + bytes; i++)
    if (data[i] !== byte) return `Pattern verification failed at offset ${offset + from}, ${bytes} bytes\n`
  return ''
}

function reportOf(
  { operation, offset, bytes, data }: Request,
  options: ReportOptions,
  nanoseconds: number,
): string {
  if (options.q) return ''
  const dump = options.v && data ? hexDump(data, offset) : ''
  return dump + report({ operation, offset, bytes, nanoseconds, machine: options.C === true })
}

/**
 * Refuses a request beyond the end of the disk. Formats do so themselves; a file or a null device as the top
 * node would grow, which QEMU does not let users of a device do.
 *
 * @throws BlockError EIO
 */
export function within(node: BlockNode, { offset, bytes }: Range): void {
  if (offset > node.size || node.size - offset < bytes)
    throw new BlockError('EIO', `request [${offset}, +${bytes}) is outside the disk`, {
      node: node.name,
      offset,
    })
}

/** The node that has a machine-state area: filters and raw leave it to the node below. */
function vmStateNode(node: BlockNode): BlockNode {
  let owner = node
  while (!owner.can('readVmState') && owner.file) owner = owner.file.node
  return owner
}

/** Reads from the machine-state area. */
export const loadVmState = (node: BlockNode, offset: number, into: Uint8Array): Promise<void> =>
  vmStateNode(node).readVmState(offset, into)

/** Writes to the machine-state area; durably, if the write cache is off. */
export async function saveVmState(node: BlockNode, offset: number, from: Uint8Array): Promise<void> {
  await vmStateNode(node).writeVmState(offset, from)
  if (!node.config.writeCache) await node.flush()
}
