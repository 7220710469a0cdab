/**
 * `aio_read`, `aio_write`, `aio_flush`: requests that run concurrently with later commands. Each command
 * succeeds when its request is submitted; the result is printed when the request completes, and never changes
 * the exit status.
 */
import { errorText } from '@vmblock/block-core'
import { defineCommand, type OptionKind, Stop } from '../session/command.ts'
import { hexDump } from '../session/hexdump.ts'
import { flag, parseLengths, parseSize, pattern } from '../session/kinds.ts'
import { report } from '../session/report.ts'
import { firstMismatch, within } from './requests.ts'

/** `-i`: only prints a message. In QEMU it also counts as an invalid request in the device's statistics. */
const invalid = (operation: string): OptionKind<never> => ({
  takesValue: false,
  parse() {
    throw new Stop(`injecting invalid ${operation} request\n`, 'print', 'ok')
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
  words: { min: 2 },
  options: { C: flag, P: pattern, i: invalid('read'), q: flag, v: flag },
  operands: { min: 2 },

  async run({ session, options, operands, node }) {
    const offset = parseSize(operands[0]!, session)
    const bytes = parseLengths(operands.slice(1), session).reduce((sum, length) => sum + length, 0)
    const data = session.buffer(bytes, 0xab)
    const { now } = session.services
    const start = now()
    session.submit(async () => {
      try {
        within(node, offset, bytes)
        await node.read(offset, data)
      } catch (error) {
        return `readv failed: ${errorText(error)}\n`
      }
      const nanoseconds = Math.max(1, now() - start)
      let told = ''
      if (options.P !== undefined && firstMismatch(data, options.P, 0, bytes) !== undefined)
        told += `Pattern verification failed at offset ${offset}, ${bytes} bytes\n`
      if (options.q) return told
      if (options.v) told += hexDump(data, offset)
      return told + report({ operation: 'read', offset, bytes, nanoseconds, machine: options.C === true })
    })
    return 'ok'
  },
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
  words: { min: 2 },
  options: { C: flag, f: flag, i: invalid('write'), q: flag, P: pattern, u: flag, z: flag },
  operands: { min: 2 },

  async run({ session, options, operands, node }) {
    const { C, f, P, q, u, z } = options
    if (z && operands.length !== 2) throw new Stop('-z supports only a single length parameter\n')
    if (u && !z) throw new Stop('-u requires -z to be specified\n')
    // -z silently wins over -P: QEMU has a message for this, but never reaches it.
    const offset = parseSize(operands[0]!, session)
    const bytes = z
      ? parseSize(operands[1]!, session)
      : parseLengths(operands.slice(1), session).reduce((sum, length) => sum + length, 0)
    const data = z ? undefined : session.buffer(bytes, P ?? 0xcd)
    const fua = f === true
    const { now } = session.services
    const start = now()
    session.submit(async () => {
      try {
        within(node, offset, bytes)
        if (data) await node.write(offset, data, { fua })
        else await node.writeZeroes(offset, bytes, { fua, mayUnmap: u === true })
      } catch (error) {
        return `aio_write failed: ${errorText(error)}\n`
      }
      const nanoseconds = Math.max(1, now() - start)
      return q ? '' : report({ operation: 'wrote', offset, bytes, nanoseconds, machine: C === true })
    })
    return 'ok'
  },
})

/** `aio_flush`. Despite its name it flushes nothing. */
export const aioFlush = defineCommand({
  name: 'aio_flush',
  summary: 'completes all outstanding aio requests',
  needsImage: true,
  words: { min: 0, max: 0 },

  async run({ session }) {
    await session.settle()
    return 'ok'
  },
})
