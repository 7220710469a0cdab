/**
 * `aio_read`, `aio_write`, `aio_flush`: requests that run concurrently with later commands. Each command
 * succeeds when its request is submitted; the result is printed when the request completes, and never changes
 * the exit status.
 */
import { flag, type OptionKind } from '@vmblock/cli'
import { defineCommand, Stop } from '../session/command.ts'
import { pattern } from '../session/kinds.ts'
import { reading, readRange, readVector, submit, writing } from './requests.ts'

/** `-i`: only prints a message. In QEMU it also counts as an invalid request in the device's statistics. */
const invalid = (operation: string): OptionKind<never> => ({
  read() {
    throw new Stop(`injecting invalid ${operation} request\n`, 'ok')
  },
})

/** `aio_read`. */
export const aioRead = defineCommand({
  name: 'aio_read',
  usage: '[-Ciqv] [-P pattern] off len [len..]',
  summary: 'asynchronously reads a number of bytes',
  details: [
    "Example: 'aio_read -v 512 1k 1k' starts to read two kilobytes from byte 512.",
    '',
    "The result is printed when the read completes, during a later command; 'aio_flush' waits for it.",
    'Neither an error nor a wrong pattern changes the exit status.',
    '',
    '-C  report in one line of numbers, for programs',
    '-i  count an invalid request, and read nothing',
    '-P  verify that all bytes read are this one',
    '-q  say nothing of a read that succeeded',
    '-v  show the data, in hexadecimal and as letters',
  ],
  needsImage: true,
  wordCount: { min: 2 },
  options: { C: flag(), P: pattern, i: invalid('read'), q: flag(), v: flag() },
  operandCount: { min: 2 },

  run: async (call) => submit(call, reading('readv', call, readVector(call))),
})

/** `aio_write`. */
export const aioWrite = defineCommand({
  name: 'aio_write',
  usage: '[-Cfiquz] [-P pattern] off len [len..]',
  summary: 'asynchronously writes a number of bytes',
  details: [
    "Example: 'aio_write 512 1k 1k' starts to write two kilobytes at byte 512.",
    '',
    "The result is printed when the write completes, during a later command; 'aio_flush' waits for it.",
    'An error does not change the exit status.',
    '',
    '-C  report in one line of numbers, for programs',
    '-f  be durable when done (force unit access)',
    '-i  count an invalid request, and write nothing',
    '-P  the byte to write; 0xcd without it',
    '-q  say nothing of a write that succeeded',
    '-u  with -z: the space may be given up',
    '-z  write zeroes by the means of the format, without data',
  ],
  needsImage: true,
  writes: true,
  wordCount: { min: 2 },
  options: { C: flag(), f: flag(), i: invalid('write'), q: flag(), P: pattern, u: flag(), z: flag() },
  operandCount: { min: 2 },

  async run(call) {
    const { u, z } = call.options
    if (z && call.operands.length !== 2) throw new Stop('-z supports only a single length parameter\n')
    if (u && !z) throw new Stop('-u requires -z to be specified\n')
    // -z silently wins over -P: QEMU has a message for this, but never reaches it.
    return submit(call, writing('aio_write', call, z ? readRange(call) : readVector(call)))
  },
})

/** `aio_flush`. Despite its name it flushes nothing. */
export const aioFlush = defineCommand({
  name: 'aio_flush',
  summary: 'completes all outstanding aio requests',
  needsImage: true,
  wordCount: { min: 0, max: 0 },

  async run({ session }) {
    await session.drain()
    return 'ok'
  },
})
