/** `write` and `writev`: data, zeroes or compressed data. */
import { errorText, MAX_REQUEST } from '@vmblock/block-core'
import { type Call, defineCommand, type OptionsOf, type Outcome, Stop } from '../session/command.ts'
import { flag, parseLengths, parseSize, pattern, requireSectors, text } from '../session/kinds.ts'
import { report } from '../session/report.ts'
import type { Session } from '../session/session.ts'
import { repeatInto, saveVmState, within } from './requests.ts'

/** The byte that fills buffers if no pattern is given. */
const DEFAULT_PATTERN = 0xcd

const writeOptions = {
  b: flag,
  c: flag,
  C: flag,
  f: flag,
  n: flag,
  p: flag,
  P: pattern,
  q: flag,
  s: text,
  u: flag,
  z: flag,
}

/** Writes and reports. */
async function perform(
  { session, options, print }: Call<{ C: typeof flag; q: typeof flag }>,
  { name, offset, bytes }: { readonly name: string; readonly offset: number; readonly bytes: number },
  request: () => Promise<void>,
): Promise<Outcome> {
  let nanoseconds: number
  try {
    nanoseconds = await session.timed(request)
  } catch (error) {
    throw new Stop(`${name} failed: ${errorText(error)}\n`)
  }
  if (!options.q)
    print(report({ operation: 'wrote', offset, bytes, nanoseconds, machine: options.C === true }))
  return 'ok'
}

/** Refuses options of `write` that contradict each other, in QEMU's order. */
function refuseConflicts({ b, c, f, n, u, z, P, s }: OptionsOf<typeof writeOptions>): void {
  if (b && z) throw new Stop('-b and -z cannot be specified at the same time\n')
  if (f && (b || c)) throw new Stop('-f and -b or -c cannot be specified at the same time\n')
  if (n && !z) throw new Stop('-n requires -z to be specified\n')
  if (u && !z) throw new Stop('-u requires -z to be specified\n')
  if ([z !== undefined, P !== undefined, s !== undefined].filter(Boolean).length > 1)
    throw new Stop('Only one of -z, -P, and -s can be specified at the same time\n')
}

/** Allocates a buffer filled with repetitions of a file's content. */
async function bufferFromFile(session: Session, bytes: number, path: string): Promise<Uint8Array> {
  let content: Uint8Array
  try {
    content = await session.services.readFile(path, bytes)
  } catch (error) {
    session.complain(`${path}: ${errorText(error)}\n`)
    throw new Stop('')
  }
  if (content.length === 0 || bytes === 0) {
    session.complain(`${path}: file is empty\n`)
    throw new Stop('')
  }
  const buffer = session.buffer(bytes, 0)
  repeatInto(buffer, content)
  return buffer
}

/** `write`. */
export const write = defineCommand({
  name: 'write',
  alias: 'w',
  usage: '[-bcCfnquz] [-P pattern | -s source_file] off len',
  summary: 'writes a number of bytes at a specified offset',
  details: [
    "Example: 'write -P 0x5a 512 1k' fills the kilobyte that starts at byte 512 with 0x5a.",
    '',
    '-b  write to the area for machine state behind the disk, not to the disk',
    '-c  write compressed clusters',
    '-C  report in one line of numbers, for programs',
    '-f  be durable when done (force unit access)',
    '-n  with -z: fail where zeroes could only be written as data',
    '-p  has no effect; old scripts use it',
    '-P  the byte to write; 0xcd without it',
    '-q  say nothing of a write that succeeded',
    '-s  write the content of a file, over and over',
    '-u  with -z: the space may be given up',
    '-z  write zeroes by the means of the format, without data',
  ],
  needsImage: true,
  writes: true,
  words: { min: 2 },
  options: writeOptions,
  operands: { min: 2, max: 2 },

  async run(call) {
    const { session, options, operands, node } = call
    refuseConflicts(options)
    const offset = parseSize(operands[0]!, session)
    const bytes = parseSize(operands[1]!, session)
    if (bytes > MAX_REQUEST && !options.n)
      throw new Stop(`length cannot exceed ${MAX_REQUEST} without -n, given ${operands[1]}\n`)
    if (options.b || options.c) {
      requireSectors('offset', operands[0]!)
      requireSectors('count', operands[1]!)
    }
    const fua = options.f === true
    if (options.z) {
      const flags = { fua, mayUnmap: options.u === true, noFallback: options.n === true }
      return perform(call, { name: 'write', offset, bytes }, async () => {
        within(node, offset, bytes)
        await node.writeZeroes(offset, bytes, flags)
      })
    }
    const data =
      options.s === undefined
        ? session.buffer(bytes, options.P ?? DEFAULT_PATTERN)
        : await bufferFromFile(session, bytes, options.s)
    return perform(call, { name: 'write', offset, bytes }, async () => {
      if (options.b) return saveVmState(node, offset, data)
      within(node, offset, bytes)
      if (options.c) await node.writeCompressed(offset, data)
      else await node.write(offset, data, { fua })
    })
  },
})

/** `writev`. The buffers of a vector are contiguous here, so they are one request. */
export const writev = defineCommand({
  name: 'writev',
  usage: '[-Cfq] [-P pattern] off len [len..]',
  summary: 'writes a number of bytes at a specified offset',
  details: [
    "Example: 'writev 512 1k 1k' writes two kilobytes at byte 512 from two buffers.",
    '',
    '-C  report in one line of numbers, for programs',
    '-f  be durable when done (force unit access)',
    '-P  the byte to write; 0xcd without it',
    '-q  say nothing of a write that succeeded',
  ],
  needsImage: true,
  writes: true,
  words: { min: 2 },
  options: { C: flag, f: flag, q: flag, P: pattern },
  operands: { min: 2 },

  async run(call) {
    const { session, options, operands, node } = call
    const offset = parseSize(operands[0]!, session)
    const bytes = parseLengths(operands.slice(1), session).reduce((sum, length) => sum + length, 0)
    const data = session.buffer(bytes, options.P ?? DEFAULT_PATTERN)
    return perform(call, { name: 'writev', offset, bytes }, async () => {
      within(node, offset, bytes)
      await node.write(offset, data, { fua: options.f === true })
    })
  },
})
