/** Checks of the arguments of node methods, as the types declare them. */
import {
  type Check,
  expects,
  isCount,
  isPlain,
  oneOfWords,
  requireCallback,
  requireCount,
  requireFlag,
  requireOptions,
  requireSignal,
  requireText,
  wrongValue,
} from '../base/arguments.ts'
import { BlockError } from '../base/errors.ts'
import type { JobControl } from '../contract/job-control.ts'
import type { BlockNode } from '../contract/node.ts'
import type { CheckOptions, NodeCheckOptions } from '../contract/reports.ts'
import type { TruncateOptions, WriteFlags } from '../contract/requests.ts'
import { isBlockNode } from './known-nodes.ts'
import { outsideError } from './node-errors.ts'

/** An open or closed node. */
export const requireNode: Check = expects('a BlockNode', isBlockNode)

const FLAGS = { fua: requireFlag, mayUnmap: requireFlag, noFallback: requireFlag }

/** @throws BlockError EINVAL */
export const requireFlags = (flags: WriteFlags): void => requireOptions(flags, 'flags', FLAGS)

const BYTES = 'a whole number of bytes from 0'

/** A number that is not a valid offset is outside every disk, as in QEMU. @throws BlockError EINVAL, EIO */
export function requireRange(node: BlockNode, offset: number, bytes: number): void {
  if (!isCount(bytes)) throw wrongValue('bytes', BYTES, bytes)
  if (isCount(offset)) return
  throw typeof offset === 'number' ? outsideError(node, offset, bytes) : wrongValue('offset', BYTES, offset)
}

const TRUNCATE = {
  preallocation: oneOfWords('off', 'metadata', 'falloc', 'full'),
  exact: requireFlag,
  zero: requireFlag,
}

/** @throws BlockError EINVAL */
export function requireTruncate(size: number, options: TruncateOptions): void {
  if (Number.isSafeInteger(size) && size < 0) throw new BlockError('EINVAL', 'Image size cannot be negative')
  if (!isCount(size)) throw wrongValue('size', BYTES, size)
  requireOptions(options, 'options', TRUNCATE)
}

const CHECK = {
  repair: oneOfWords('leaks', 'all', false),
  report: requireCallback,
  reportFailure: requireCallback,
}

/** The options for the driver: `repair: false` is left out. @throws BlockError EINVAL */
export function checkOptions(options: NodeCheckOptions): CheckOptions {
  requireOptions(options, 'options', CHECK)
  const { repair, ...rest } = options
  return repair ? { ...rest, repair } : rest
}

/** @throws BlockError EINVAL */
export function requireBackingChange(filename: unknown, format: unknown): void {
  if (filename !== null) requireText(filename, 'filename')
  if (format !== undefined) requireText(format, 'format')
}

/** @throws BlockError EINVAL */
export function requireSource(source: unknown, offset: unknown): void {
  requireNode(source, 'source')
  requireCount(offset, 'sourceOffset')
}

/** The driver checks the options themselves. @throws BlockError EINVAL */
export function requireAmendment(options: unknown, control: unknown): void {
  if (!isPlain(options)) throw wrongValue('options', 'a plain object', options)
  requireControl(control, 'control')
}

const PIECES = {
  signal: requireSignal,
  onProgress: requireCallback,
  checkpoint: requireCallback,
  report: requireCallback,
}

/** @throws BlockError EINVAL */
export const requirePieces = (options: unknown): void => requireOptions(options, 'options', PIECES)

/** What a job gives to its operation. */
export const requireControl: Check = expects(
  'a JobControl',
  (value) => typeof (value as Partial<JobControl> | null)?.checkpoint === 'function',
)

const OBSERVER = expects('an object with functions `before` or `after`', (value) => {
  const { before, after } = (value ?? {}) as { before?: unknown; after?: unknown }
  const given = [before, after].filter((callback) => callback !== undefined)
  return given.length > 0 && given.every((callback) => typeof callback === 'function')
})

/** @throws BlockError EINVAL */
export const requireObserver = (observer: unknown): void => OBSERVER(observer, 'observer')

/** @throws BlockError EINVAL */
export const requireBody = (body: unknown): void => requireCallback(body, 'body')
