/** `flush`, `truncate`, `length` and `discard`. */
import { errorText, MAX_REQUEST, type Preallocation } from '@vmblock/block-core'
import { defineCommand, type OptionKind, Stop } from '../session/command.ts'
import { flag, parseSize } from '../session/kinds.ts'
import { humanSize, report } from '../session/report.ts'
import { within } from './requests.ts'

/** `flush`. It is silent; an error shows only in the exit status. */
export const flush = defineCommand({
  name: 'flush',
  alias: 'f',
  summary: 'flush all in-core file state to disk',
  needsImage: true,
  words: { min: 0, max: 0 },

  async run({ session, node }) {
    try {
      await session.wait(node.flush())
    } catch {
      return 'failed'
    }
    return 'ok'
  },
})

const MODES: readonly string[] = ['off', 'metadata', 'falloc', 'full']

const preallocation: OptionKind<Preallocation> = {
  takesValue: true,
  parse(name) {
    if (!MODES.includes(name)) throw new Stop(`Invalid preallocation mode '${name}'\n`, 'error')
    return name as Preallocation
  },
}

/** `truncate`. */
export const truncate = defineCommand({
  name: 'truncate',
  alias: 't',
  usage: '[-m prealloc_mode] off',
  summary: 'truncates the current file at the given offset',
  needsImage: true,
  writes: true,
  words: { min: 1, max: 3 },
  options: { m: preallocation },
  operands: { min: 1 },

  async run({ session, node, options, operands, words }) {
    // QEMU names the first word in its message, even if that is an option.
    const size = parseSize(operands[0]!, session, words[0])
    await session.wait(node.truncate(size, { preallocation: options.m ?? 'off', exact: false }))
    return 'ok'
  },
})

/** `length`. */
export const length = defineCommand({
  name: 'length',
  alias: 'l',
  summary: 'gets the length of the current file',
  needsImage: true,
  words: { min: 0, max: 0 },

  async run({ node, print }) {
    print(`${humanSize(node.size)}\n`)
    return 'ok'
  },
})

/** `discard`. */
export const discard = defineCommand({
  name: 'discard',
  alias: 'd',
  usage: '[-Cq] off len',
  summary: 'discards a number of bytes at a specified offset',
  details: [
    "Example: 'discard 512 1k' gives up the kilobyte that starts at byte 512.",
    '',
    '-C  report in one line of numbers, for programs',
    '-q  say nothing of a discard that succeeded',
  ],
  needsImage: true,
  writes: true,
  words: { min: 2 },
  options: { C: flag, q: flag },
  operands: { min: 2, max: 2 },

  async run({ session, node, options, operands, print }) {
    const offset = parseSize(operands[0]!, session)
    const bytes = parseSize(operands[1]!, session)
    if (bytes > MAX_REQUEST) throw new Stop(`length cannot exceed ${MAX_REQUEST}, given ${operands[1]}\n`)
    let nanoseconds: number
    try {
      nanoseconds = await session.timed(async () => {
        within(node, offset, bytes)
        await node.discard(offset, bytes)
      })
    } catch (error) {
      throw new Stop(`discard failed: ${errorText(error)}\n`)
    }
    if (!options.q)
      print(report({ operation: 'discard', offset, bytes, nanoseconds, machine: options.C === true }))
    return 'ok'
  },
})
