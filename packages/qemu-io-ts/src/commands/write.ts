/** `write` and `writev`: data, zeroes or compressed data. */
import { errorText } from '@vmblock/block-core/late'
import { flag, type OptionsOf, word } from '@vmblock/cli'
import { defineCommand, Stop } from '../session/command.ts'
import { pattern } from '../session/kinds.ts'
import type { Session } from '../session/session.ts'
import { perform, readRange, readVector, requireLength, requireSectors, writing } from './requests.ts'

const writeOptions = {
  b: flag(),
  c: flag(),
  C: flag(),
  f: flag(),
  n: flag(),
  p: flag(),
  P: pattern,
  q: flag(),
  s: word('source_file', { values: 'file' }),
  u: flag(),
  z: flag(),
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
    session.output.note(`${path}: ${errorText(error)}`)
    throw new Stop('')
  }
  if (content.length === 0 || bytes === 0) {
    session.output.note(`${path}: file is empty`)
    throw new Stop('')
  }
  const buffer = session.buffer(bytes, 0)
  for (let done = 0; done < bytes; done += content.length)
    buffer.set(content.subarray(0, Math.min(content.length, bytes - done)), done)
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
  wordCount: { min: 2 },
  options: writeOptions,
  operandCount: { min: 2, max: 2 },

  async run(call) {
    const { session, options } = call
    refuseConflicts(options)
    const range = readRange(call)
    if (!options.n) requireLength(call, range.bytes, ' without -n')
    if (options.b || options.c) requireSectors(call)
    const content =
      options.s === undefined ? undefined : await bufferFromFile(session, range.bytes, options.s)
    return perform(call, writing('write', call, range, content))
  },
})

/** `writev`. */
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
  wordCount: { min: 2 },
  options: { C: flag(), f: flag(), q: flag(), P: pattern },
  operandCount: { min: 2 },

  run: async (call) => perform(call, writing('writev', call, readVector(call))),
})
