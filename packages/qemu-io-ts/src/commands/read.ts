/** `read` and `readv`: read a range, and verify or show it. */
import { errorText, MAX_REQUEST } from '@vmblock/block-core'
import { type Call, defineCommand, type Outcome, Stop, UsageMistake } from '../session/command.ts'
import { hexDump } from '../session/hexdump.ts'
import { flag, parseLengths, parseSize, pattern, requireSectors, size } from '../session/kinds.ts'
import { report } from '../session/report.ts'
import { firstMismatch, loadVmState, within } from './requests.ts'

interface Reading {
  readonly name: string
  readonly offset: number
  readonly data: Uint8Array
  readonly expect?: { readonly byte: number; readonly from: number; readonly bytes: number } | undefined
}

/** Reads, verifies and reports. */
async function perform(
  { session, options, print }: Call<{ C: typeof flag; q: typeof flag; v: typeof flag }>,
  { name, offset, data, expect }: Reading,
  request: () => Promise<void>,
): Promise<Outcome> {
  let nanoseconds: number
  try {
    nanoseconds = await session.timed(request)
  } catch (error) {
    throw new Stop(`${name} failed: ${errorText(error)}\n`)
  }
  const wrong = expect && firstMismatch(data, expect.byte, expect.from, expect.bytes) !== undefined
  if (wrong) print(`Pattern verification failed at offset ${offset + expect.from}, ${expect.bytes} bytes\n`)
  if (!options.q) {
    if (options.v) print(hexDump(data, offset))
    print(report({ operation: 'read', offset, bytes: data.length, nanoseconds, machine: options.C === true }))
  }
  return wrong ? 'failed' : 'ok'
}

/** `read`. */
export const read = defineCommand({
  name: 'read',
  alias: 'r',
  // -a has had no effect for years, but scripts compare this line.
  usage: '[-abCqv] [-P pattern [-s off] [-l len]] off len',
  summary: 'reads a number of bytes at a specified offset',
  details: [
    "Example: 'read -v 512 1k' shows the kilobyte that starts at byte 512.",
    '',
    '-b  read the area for machine state behind the disk, not the disk',
    '-C  report in one line of numbers, for programs',
    '-l  with -P: how many bytes to verify',
    '-p  has no effect; old scripts use it',
    '-P  verify that all bytes read are this one',
    '-q  say nothing of a read that succeeded',
    '-s  with -P: where to begin, counted from the start of the range',
    '-v  show the data, in hexadecimal and as letters',
  ],
  needsImage: true,
  words: { min: 2 },
  options: { b: flag, C: flag, l: size, p: flag, P: pattern, q: flag, s: size, v: flag },
  operands: { min: 2, max: 2 },

  async run(call) {
    const { session, options, operands, node } = call
    const offset = parseSize(operands[0]!, session)
    const bytes = parseSize(operands[1]!, session)
    if (bytes > MAX_REQUEST) throw new Stop(`length cannot exceed ${MAX_REQUEST}, given ${operands[1]}\n`)
    if (options.P === undefined && (options.l !== undefined || options.s !== undefined))
      throw new UsageMistake()
    const from = options.s ?? 0
    const length = options.l ?? bytes - from
    if (length < 0 || from + length > bytes)
      throw new Stop('pattern verification range exceeds end of read data\n')
    if (options.b) {
      requireSectors('offset', operands[0]!)
      requireSectors('count', operands[1]!)
    }
    // Filled with a byte that shows what a driver left untouched.
    const data = session.buffer(bytes, 0xab)
    const expect = options.P === undefined ? undefined : { byte: options.P, from, bytes: length }
    return perform(call, { name: 'read', offset, data, expect }, async () => {
      if (options.b) return loadVmState(node, offset, data)
      within(node, offset, bytes)
      await node.read(offset, data)
    })
  },
})

/** `readv`. The buffers of a vector are contiguous here, so they are one request. */
export const readv = defineCommand({
  name: 'readv',
  usage: '[-Cqv] [-P pattern] off len [len..]',
  summary: 'reads a number of bytes at a specified offset',
  details: [
    "Example: 'readv -v 512 1k 1k' reads two kilobytes from byte 512 into two buffers, and shows them.",
    '',
    '-C  report in one line of numbers, for programs',
    '-P  verify that all bytes read are this one',
    '-q  say nothing of a read that succeeded',
    '-v  show the data, in hexadecimal and as letters',
  ],
  needsImage: true,
  words: { min: 2 },
  options: { C: flag, P: pattern, q: flag, v: flag },
  operands: { min: 2 },

  async run(call) {
    const { session, options, operands, node } = call
    const offset = parseSize(operands[0]!, session)
    const bytes = parseLengths(operands.slice(1), session).reduce((sum, length) => sum + length, 0)
    const data = session.buffer(bytes, 0xab)
    const expect = options.P === undefined ? undefined : { byte: options.P, from: 0, bytes }
    return perform(call, { name: 'readv', offset, data, expect }, async () => {
      within(node, offset, bytes)
      await node.read(offset, data)
    })
  },
})
