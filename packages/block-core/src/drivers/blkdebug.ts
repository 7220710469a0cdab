/** The `blkdebug` filter: injected errors, breakpoints that suspend requests, and stricter limits. */
import { isPowerOfTwo } from '../base/bits.ts'
import { BlockError } from '../base/errors.ts'
import { filtered } from '../contract/child-kinds.ts'
import { defineDriver } from '../contract/driver.ts'
import type { NodeOps } from '../contract/node-ops.ts'
import type { BlockLimits } from '../contract/requests.ts'
import { type OptionValues, type RawOptions, size, text } from '../text/options.ts'
import { aroundRequests, type FilteredRequest } from './around-requests.ts'
import { joinRules, NO_RULES, parseBlkdebugConfig, ruleOptions } from './blkdebug-config.ts'
import { BlkdebugEngine, type IoType } from './blkdebug-rules.ts'
import { forwardOps, statusBelow } from './pass-through.ts'

const INT_MAX = 2 ** 31 - 1

const LIMIT_OPTIONS = {
  align: size('Required alignment in bytes', 0),
  maxTransfer: size('Maximum transfer size in bytes', 0),
  optWriteZero: size('Optimum write zero alignment in bytes', 0),
  maxWriteZero: size('Maximum write zero size in bytes', 0),
  optDiscard: size('Optimum discard alignment in bytes', 0),
  maxDiscard: size('Maximum discard size in bytes', 0),
}

const OPTIONS = { config: text('Path to the configuration file'), ...ruleOptions, ...LIMIT_OPTIONS }

/** What the application provides to blkdebug. */
export interface BlkdebugHost {
  /** Returns the content of the file that the option `config` names. Absent: config files are refused. */
  readonly readConfig?: (filename: string) => Promise<string>
  /** Receives lines about suspended and resumed requests, without newline; QEMU prints them to stdout. */
  readonly print?: (line: string) => void
}

type Limits = OptionValues<typeof LIMIT_OPTIONS>

/** @throws BlockError EINVAL */
function checkLimits(options: Limits, below: BlockLimits): void {
  const check = (name: string, value: number, fits: (value: number) => boolean): void => {
    if (value !== 0 && (value >= INT_MAX || !fits(value)))
      throw new BlockError('EINVAL', `Cannot meet constraints with ${name} ${value}`)
  }
  const multipleOf =
    (unit: number) =>
    (value: number): boolean =>
      value % unit === 0
  const { align, maxTransfer, optWriteZero, maxWriteZero, optDiscard, maxDiscard } = options
  check('align', align, isPowerOfTwo)
  const unit = Math.max(align, below.requestAlignment)
  check('max-transfer', maxTransfer, multipleOf(unit))
  check('opt-write-zero', optWriteZero, multipleOf(unit))
  check('max-write-zero', maxWriteZero, multipleOf(Math.max(optWriteZero, unit)))
  check('opt-discard', optDiscard, multipleOf(unit))
  check('max-discard', maxDiscard, multipleOf(Math.max(optDiscard, unit)))
}

/** The limits of the child, changed by the options; 0 leaves a limit as it is. */
const limitsOf = (options: Limits, below: BlockLimits): BlockLimits => ({
  requestAlignment: options.align || below.requestAlignment,
  maxTransfer: options.maxTransfer || below.maxTransfer,
  writeZeroesAlignment: options.optWriteZero || below.writeZeroesAlignment,
  maxWriteZeroes: options.maxWriteZero || below.maxWriteZeroes,
  discardAlignment: options.optDiscard || below.discardAlignment,
  maxDiscard: options.maxDiscard || below.maxDiscard,
  compressedAlignment: below.compressedAlignment,
})

/** Rules of a kind of request; the other kinds have none. */
const IO_TYPE: { readonly [Kind in FilteredRequest['kind']]?: IoType } = {
  read: 'read',
  write: 'write',
  writeZeroes: 'write-zeroes',
  discard: 'discard',
  flush: 'flush',
  blockStatus: 'block-status',
}

/** Parses `blkdebug:CONFIG:IMAGE` into options; CONFIG may be empty. @throws BlockError EINVAL */
function parseFilename(filename: string): Record<string, unknown> {
  const rest = filename.slice('blkdebug:'.length)
  const colon = rest.indexOf(':')
  if (colon < 0) throw new BlockError('EINVAL', 'blkdebug requires both config file and image path')
  const config = rest.slice(0, colon)
  return { driver: 'blkdebug', ...(config !== '' && { config }), image: { filename: rest.slice(colon + 1) } }
}

/** A file name can express the config file and the image, but no other option. */
function nameFromOptions(options: RawOptions, child = ''): string | undefined {
  const { config = '', ...others } = options
  return child === '' || Object.keys(others).length > 0 ? undefined : `blkdebug:${String(config)}:${child}`
}

/** Makes the `blkdebug` driver for an application. */
export function createBlkdebug({ readConfig, print = () => {} }: BlkdebugHost) {
  async function readRules(filename: string | undefined) {
    if (filename === undefined) return NO_RULES
    if (!readConfig)
      throw new BlockError(
        'ENOTSUP',
        `blkdebug cannot read config files here: '${filename}'; give the rules as options`,
      )
    return parseBlkdebugConfig(await readConfig(filename))
  }

  return defineDriver({
    name: 'blkdebug',
    kind: 'filter',
    children: { image: filtered },
    prefixes: ['blkdebug'],
    options: OPTIONS,
    parseFilename,
    nameFromOptions,

    async open(context) {
      const { options } = context
      const engine = new BlkdebugEngine(joinRules(await readRules(options.config), options), print)
      const child = await context.requireChild('image')
      checkLimits(options, child.limits)
      const smallestZero = (): number => {
        const { requestAlignment, writeZeroesAlignment } = limitsOf(options, child.limits)
        return Math.max(requestAlignment, writeZeroesAlignment)
      }
      const writeZeroes: NodeOps['writeZeroes'] = (...args) => child.writeZeroes(...args)
      const discard: NodeOps['discard'] = (...args) => child.discard(...args)
      const below = forwardOps(child, {
        get limits() {
          return limitsOf(options, child.limits)
        },
        // Also if the child's driver has neither: then the child's node writes zero bytes, or discards nothing.
        get writeZeroes() {
          return child.node.ops.write && writeZeroes
        },
        get discard() {
          return child.node.ops.write && discard
        },
        blockStatus: async (offset, bytes) => statusBelow(child, offset, bytes),
        // Not passed on: as in QEMU, a second blkdebug further down only receives the steps of its own node.
        debugEvent: (event) => engine.event(event),
        breakpoints: engine,
        close: async () => engine.end(),
        crash: () => engine.end(),
      })
      await engine.event('none')
      return aroundRequests(below, async ({ kind, offset, bytes }, run) => {
        // As in QEMU, pieces below the alignment are left to the fallback, so that it gets tested.
        if (kind === 'writeZeroes' && bytes < smallestZero())
          throw new BlockError('ENOTSUP', 'below the alignment of zero writes')
        const type = IO_TYPE[kind]
        if (type) await engine.check(type, offset, bytes)
        return run()
      })
    },
  })
}

/** `blkdebug` with rules from options only, and no printed lines. */
export const blkdebug = createBlkdebug({})
