/** `flush`, `truncate`, `length` and `discard`. */
import type { Preallocation } from '@vmblock/block-core'
import { choice, Failure, flag } from '@vmblock/cli'
import { defineCommand } from '../session/command.ts'
import { parseSize } from '../session/kinds.ts'
import { humanSize } from '../session/report.ts'
import { perform, readRange, requireLength } from './requests.ts'

/** `flush`. It is silent; an error shows only in the exit status. */
export const flush = defineCommand({
  name: 'flush',
  alias: 'f',
  summary: 'flush all in-core file state to disk',
  needsImage: true,
  wordCount: { min: 0, max: 0 },

  async run({ session, node }) {
    try {
      await session.wait(node.flush())
    } catch {
      return 'failed'
    }
    return 'ok'
  },
})

const PREALLOCATIONS = ['off', 'metadata', 'falloc', 'full'] as const

const preallocation = {
  ...choice<Preallocation>(PREALLOCATIONS, (name) => new Failure(`Invalid preallocation mode '${name}'`), {
    argument: 'prealloc_mode',
  }),
  values: PREALLOCATIONS,
}

/** `truncate`. */
export const truncate = defineCommand({
  name: 'truncate',
  alias: 't',
  usage: '[-m prealloc_mode] off',
  summary: 'truncates the current file at the given offset',
  needsImage: true,
  writes: true,
  wordCount: { min: 1, max: 3 },
  options: { m: preallocation },
  operandCount: { min: 1 },

  async run({ session, node, options, operands, words, warn }) {
    // QEMU names the first word in its message, even if that is an option.
    const size = parseSize(operands[0]!, warn, words[0])
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
  wordCount: { min: 0, max: 0 },

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
  wordCount: { min: 2 },
  options: { C: flag(), q: flag() },
  operandCount: { min: 2, max: 2 },

  async run(call) {
    const { node } = call
    const range = readRange(call)
    requireLength(call, range.bytes)
    return perform(call, {
      name: 'discard',
      operation: 'discard',
      ...range,
      run: () => node.discard(range.offset, range.bytes),
    })
  },
})
