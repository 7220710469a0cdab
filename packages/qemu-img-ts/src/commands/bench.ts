/** `bench`: sends many equal requests to an image, and prints how long they took. */
import type { BlockNode } from '@vmblock/block-core'
import { readUnsigned } from '@vmblock/block-core/driver'
import { errorText } from '@vmblock/block-core/late'
import { allocateAligned } from '@vmblock/block-core/node'
import {
  cacheMode,
  cacheWord,
  Failure,
  fixedText,
  flag,
  type OptionKind,
  oneImage,
  type Spelling,
  shared,
} from '@vmblock/cli'
import { AIO_WAYS, type Aio, findAio } from '../images/aio.ts'
import { type CacheFlags, exactBytes, openImage } from '../images/image.ts'
import { FlushFailure, RequestLoop } from '../images/request-loop.ts'
import { type Call, defineCommand } from '../kit/command.ts'
import { MAX_INT, sizeOption } from '../kit/size-text.ts'

/** An option with an integer from `min` to `max`; `what` names it in the message. */
const number = (
  what: string,
  min: number,
  max: number,
  spelling: Spelling & { readonly argument: string },
): OptionKind<number> => ({
  ...spelling,
  read(text) {
    const value = readUnsigned(text)
    if (typeof value === 'string' || value > max || value < min)
      throw new Failure(`Invalid ${what} specified`)
    return Number(value)
  },
})

const aioWay: OptionKind<Aio> = {
  short: 'i',
  newer: ['aio'],
  argument: 'aio',
  values: AIO_WAYS,
  help: 'how requests reach the kernel: threads, native, io_uring, adaptive (the default) or sync',
  read(text, _warn, before) {
    const way = findAio(text)
    if (!way) throw new Failure(`Invalid aio option: ${text}`)
    // As in QEMU, where every value but `threads` sets a flag, and none clears another's.
    return before === 'native' || (before !== undefined && way === 'threads') ? before : way
  },
}

const cache: OptionKind<CacheFlags> = {
  ...cacheWord('cache', { short: 't', newer: ['cache'], help: 'how the image is cached' }),
  read(text) {
    const mode = cacheMode(text)
    if (!mode) throw new Failure('Invalid cache mode')
    return mode
  },
}

const COUNT = 75_000
const DEPTH = 64
const SIZE = 4096n

const options = {
  count: number('request count', 0, Number(MAX_INT), {
    short: 'c',
    newer: ['count'],
    argument: 'count',
    help: 'how many requests to send (75000)',
  }),
  // QEMU accepts a depth of 0, and then waits forever.
  depth: number('queue depth', 1, Number(MAX_INT), {
    short: 'd',
    newer: ['depth'],
    argument: 'depth',
    help: 'how many of them at once (64)',
  }),
  format: shared.shortFormat,
  flushInterval: number('flush interval', 0, Number(MAX_INT), {
    long: 'flush-interval',
    argument: 'count',
    help: 'with -w: flush after so many requests',
  }),
  aio: aioWay,
  native: flag({ short: 'n', newer: ['native'], help: 'the same as -i native' }),
  noDrain: flag({ long: 'no-drain', help: 'with --flush-interval: go on sending while it is flushed' }),
  offset: sizeOption('offset', {
    short: 'o',
    newer: ['offset'],
    argument: 'offset',
    help: 'where the first request begins (0)',
  }),
  pattern: number('pattern byte', 0, 255, {
    long: 'pattern',
    argument: 'byte',
    help: 'with -w: the byte to write (0)',
  }),
  quiet: shared.quiet,
  size: sizeOption(
    'buffer size',
    { short: 's', newer: ['buffer-size'], argument: 'buffer_size', help: 'how long each request is (4k)' },
    MAX_INT,
  ),
  step: sizeOption(
    'step_size',
    {
      short: 'S',
      newer: ['step-size'],
      argument: 'step_size',
      help: 'how far apart requests begin (as long as they are)',
    },
    MAX_INT,
  ),
  cache,
  write: flag({ short: 'w', newer: ['write'], help: 'write; without it, requests read' }),
  forceShare: shared.forceShare,
  imageOpts: shared.imageOpts,
} as const

type BenchCall = Call<typeof options>

/** The subcommand. */
export const bench = defineCommand({
  name: 'bench',
  summary: 'measure how long requests take',
  details: [
    'Sends many equal requests, several at a time, and prints how long all of them took. At the end of the disk it',
    'goes on at the beginning.',
  ],
  operandHelp: { filename: 'the image; with -w its content is lost' },
  example: 'bench -c 10000 -d 8 -s 64k disk.qcow2',
  options,
  operands: 'filename',
  run,
})

async function run(call: BenchCall): Promise<number> {
  const { options } = call
  const name = oneImage(call)
  const { format, imageOpts, forceShare, flushInterval = 0, depth = DEPTH } = options
  const write = options.write === true
  if (flushInterval > 0 && !write) throw new Failure('--flush-interval is only available in write tests')
  if (flushInterval > 0 && flushInterval < depth)
    throw new Failure(`Flush interval can't be smaller than depth`)
  const node = await openImage(call, {
    name,
    format,
    imageOpts,
    forceShare,
    write,
    aio: options.native ? 'native' : options.aio,
    ...(options.cache && { cache: options.cache }),
  })
  return measure(call, node)
}

async function measure({ options, output }: BenchCall, node: BlockNode): Promise<number> {
  const { count = COUNT, depth = DEPTH, flushInterval = 0 } = options
  const offset = exactBytes(options.offset ?? 0n)
  const size = Number(options.size ?? SIZE)
  const step = Number(options.step || (options.size ?? SIZE))
  const kind = options.write ? 'write' : 'read'
  output.print(
    `Sending ${count} ${kind} requests, ${size} bytes each, ${depth} in parallel ` +
      `(starting at offset ${offset}, step size ${step})\n`,
  )
  if (flushInterval > 0) output.print(`Sending flush every ${flushInterval} requests\n`)
  // As in QEMU, all requests share one buffer.
  const buffer = allocateAligned(size)
  buffer.fill(options.pattern ?? 0)
  const plan = {
    count,
    depth,
    offset,
    step,
    wrap: node.size,
    flushInterval,
    drains: !options.noDrain,
  }
  const loop = new RequestLoop(plan, {
    send: options.write ? (at) => node.write(at, buffer) : (at) => node.read(at, buffer),
    flush: () => node.flush(),
  })
  try {
    const start = performance.now()
    await loop.run()
    const seconds = (performance.now() - start) / 1000
    output.print(`Run completed in ${fixedText(seconds, 3)} seconds.\n`)
    await loop.flushed()
  } catch (error) {
    if (error instanceof FlushFailure) throw new Failure(`Failed flush request: ${errorText(error.cause)}`)
    throw new Failure(`Failed request: ${errorText(error)}`)
  }
  return 0
}
