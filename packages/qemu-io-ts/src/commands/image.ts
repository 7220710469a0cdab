/** `open`, `close` and `reopen`. */
import { type RawOptions, reopenNode } from '@vmblock/block-core'
import { Failure, flag, type Given, readOptionTree, type Warn, word } from '@vmblock/cli'
import { defineCommand, Stop, UsageMistake } from '../session/command.ts'
import {
  cacheOption,
  DEFAULT_MODES,
  describedNode,
  MODE_OPTIONS,
  type ModeChange,
  openImage,
} from '../session/image.ts'

/** Merges the `-o` options; later ones win. */
function mergeGiven(given: readonly Given[], warn: Warn): RawOptions | undefined {
  const texts = given.filter(({ name }) => name === 'o').map(({ value }) => value as string)
  if (texts.length === 0) return undefined
  return readOptionTree(texts.join(','), warn)
}

/** `open`. */
export const open = defineCommand({
  name: 'open',
  alias: 'o',
  usage: '[-rsCnkU] [-t cache] [-d discard] [-o options] [path]',
  summary: 'open the file specified by path',
  operandsAre: 'files',
  details: [
    "Example: 'open -o driver=raw,cache.direct=on /tmp/data' opens a raw file past the host's cache.",
    '',
    'The other commands work on what is open.',
    '-r  open it read-only',
    '-s  write to a temporary overlay, which is lost on close',
    '-C  copy what is read from the backing file into the image',
    '-n  the same as -t none',
    '-U  let others write to the image meanwhile',
    '-k  the same as -i native',
    '-i  how requests reach the kernel: threads, native or io_uring',
    '-t  cache mode: none, directsync, writethrough, writeback or unsafe',
    '-d  what a discard does: ignore or unmap',
    '-o  options of the driver, as key=value,...',
  ],
  needsImage: false,
  wordCount: { min: 1 },
  options: { ...MODE_OPTIONS, o: word('options') },

  async run({ session, given, operands, warn }) {
    const { imageOptions } = session.settings
    if (imageOptions && given.some(({ name }) => name === 'o'))
      throw new Stop("--image-opts and 'open -o' are mutually exclusive\n")
    const changes = given.filter(({ name }) => name !== 'o').map(({ value }) => value as ModeChange)
    const modes = changes.reduce((current, apply) => apply(current), DEFAULT_MODES)
    let options = mergeGiven(given, warn)
    let [filename] = operands
    if (imageOptions && operands.length === 1) {
      options = readOptionTree(operands[0]!, warn)
      filename = undefined
    }
    if (operands.length > 1) throw new UsageMistake()
    if (session.image) throw new Failure("file open already, try 'help close'")
    const opening = openImage(session.services, { filename, options, modes })
    session.attach(await session.wait(opening, async () => (await opening).close()))
    return 'ok'
  },
})

/** `close`. */
export const close = defineCommand({
  name: 'close',
  alias: 'c',
  summary: 'close the current open file',
  needsImage: true,
  wordCount: { min: 0, max: 0 },

  async run({ session }) {
    await session.wait(session.close())
    return 'ok'
  },
})

/** `reopen`. */
export const reopen = defineCommand({
  name: 'reopen',
  usage: '[(-r|-w)] [-c cache] [-o options]',
  summary: 'reopens an image with new options',
  details: [
    "Example: 'reopen -o lazy-refcounts=on' lets a qcow2 image postpone its refcounts from now on.",
    '',
    '-r  make it read-only',
    '-w  make it writable',
    '-c  change the cache mode',
    '-o  change options of the driver, as key=value,...',
  ],
  needsImage: true,
  wordCount: { min: 0 },
  options: { c: cacheOption, o: word('options'), r: flag(), w: flag() },
  operandCount: { min: 0, max: 0 },

  async run({ session, node, given, options, warn }) {
    const modes = given.filter(({ name }) => name === 'r' || name === 'w')
    if (modes.length > 1) throw new Failure('Only one -r/-w option may be given')
    const driverOptions = mergeGiven(given, warn) ?? {}
    if (modes.length > 0 && 'read-only' in driverOptions)
      throw new Failure("Cannot set both -r/-w and 'read-only'")
    if (options.c && 'cache' in driverOptions) throw new Failure('Cannot set both -c and the cache options')
    const layer = describedNode(node)
    // Only -r releases the permission to write; an option cannot take it from its holder.
    const { 'read-only': readOnly } = driverOptions
    if (!layer.readOnly && (readOnly === 'on' || readOnly === 'true' || readOnly === 'yes'))
      throw new Failure(`Read-only block node '${layer.name}' cannot support read-write users`)
    const common = {
      ...(modes.length > 0 && { readOnly: modes[0]!.name === 'r' }),
      ...(options.c && { cache: options.c(DEFAULT_MODES).cache }),
    }
    // The filter that -C puts on top is reopened with its file.
    const all = layer === node ? driverOptions : { file: driverOptions }
    await session.wait(reopenNode(node, { ...common, options: all }))
    return 'ok'
  },
})
