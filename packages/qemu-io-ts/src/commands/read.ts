/** `read` and `readv`: read a range, and verify or show it. */
import { flag } from '@vmblock/cli'
import { defineCommand, Stop, UsageMistake } from '../session/command.ts'
import { pattern, size } from '../session/kinds.ts'
import { perform, reading, readRange, readVector, requireLength, requireSectors } from './requests.ts'

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
  wordCount: { min: 2 },
  options: { b: flag(), C: flag(), l: size, p: flag(), P: pattern, q: flag(), s: size, v: flag() },
  operandCount: { min: 2, max: 2 },

  async run(call) {
    const { P, l, s: from = 0, b } = call.options
    const range = readRange(call)
    requireLength(call, range.bytes)
    if (P === undefined && (l !== undefined || call.options.s !== undefined)) throw new UsageMistake()
    const bytes = l ?? range.bytes - from
    if (bytes < 0 || from + bytes > range.bytes)
      throw new Stop('pattern verification range exceeds end of read data\n')
    if (b) requireSectors(call)
    return perform(call, reading('read', call, range, P === undefined ? undefined : { byte: P, from, bytes }))
  },
})

/** `readv`. */
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
  wordCount: { min: 2 },
  options: { C: flag(), P: pattern, q: flag(), v: flag() },
  operandCount: { min: 2 },

  run: async (call) => perform(call, reading('readv', call, readVector(call))),
})
