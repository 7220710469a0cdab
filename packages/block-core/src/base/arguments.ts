/**
 * Checks of the arguments of public methods: exactly what the types say, for every caller. Without them, a
 * caller that uses no TypeScript (or `any`) could get a promise that resolves with no work done: a string has
 * a `length` too, and every comparison with NaN is false.
 */
import { BlockError } from './errors.ts'

/** Bytes in any form: a view (`Uint8Array`, `Buffer`, `DataView`, ...), or a whole `ArrayBuffer`. */
export type Bytes = ArrayBufferView | ArrayBufferLike

/** Longest part of a string that a message shows, in characters. */
const LONGEST_SHOWN = 200

/** A short text of any value, for messages. */
export function shown(value: unknown): string {
  if (typeof value === 'string')
    return value.length > LONGEST_SHOWN ? `'${value.slice(0, LONGEST_SHOWN)}...'` : `'${value}'`
  if (typeof value === 'bigint') return value > -(10n ** 30n) && value < 10n ** 30n ? `${value}n` : 'a bigint'
  if (typeof value === 'function') return 'a function'
  if (typeof value !== 'object' || value === null) return String(value)
  return Object.prototype.toString.call(value).slice(0, LONGEST_SHOWN)
}

/** The error for an argument or option of the wrong kind; names it. */
export const wrongValue = (name: string, expected: string, value: unknown): BlockError =>
  new BlockError('EINVAL', `Parameter '${name}' expects ${expected}, not ${shown(value)}`)

/** Whether a value is an offset, a length or a size: a whole number from 0 to 2^53-1. */
export const isCount = (value: unknown): value is number =>
  Number.isSafeInteger(value) && (value as number) >= 0

/** Whether a value is a group of options: a plain object, from any realm, not a list, a node or a buffer. */
export function isPlain(value: unknown): value is Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null) return false
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === null || prototype === Object.prototype || isRoot(prototype)
}

/** Other realms (`vm`, frames) have an `Object.prototype` of their own. */
const isRoot = (prototype: unknown): boolean =>
  Object.getPrototypeOf(prototype) === null && Object.hasOwn(prototype as object, 'hasOwnProperty')

/** Checks one argument. @throws BlockError EINVAL that names it */
export type Check = (value: unknown, name: string) => void

/** Makes a {@link Check}, which throws, from a test and a description of the values that pass it. */
export const expects =
  (expected: string, is: (value: unknown) => boolean): Check =>
  (value, name) => {
    if (!is(value)) throw wrongValue(name, expected, value)
  }

/** An offset, a length or a size. */
export const requireCount = expects('a whole number from 0', isCount)
/** A number of things, at least one. */
export const requirePositive = expects('a whole number from 1', (value) => isCount(value) && value > 0)
/** Bytes a second; 0: no limit, as in QEMU. */
export const requireRate = expects(
  'a number from 0',
  (value) => Number.isFinite(value) && (value as number) >= 0,
)
/** True or false; no word such as `on`. */
export const requireFlag = expects('true or false', (value) => typeof value === 'boolean')
/** A function. */
export const requireCallback = expects('a function', (value) => typeof value === 'function')
/** Text. */
export const requireText = expects('a string', (value) => typeof value === 'string')
/** An `AbortSignal`, from any realm. */
export const requireSignal = expects(
  'an AbortSignal',
  (value) =>
    typeof (value as AbortSignal | undefined)?.aborted === 'boolean' &&
    typeof (value as AbortSignal).addEventListener === 'function',
)
/** One of a few words. */
export const oneOfWords = (...words: readonly unknown[]): Check =>
  expects(`one of ${words.join(', ')}`, (value) => words.includes(value))

/**
 * Checks a group of options: unknown names are refused, undefined values count as absent.
 *
 * @throws BlockError EINVAL that names the option
 */
export function requireOptions(
  options: unknown,
  name: string,
  checks: Readonly<Record<string, Check>>,
): void {
  if (!isPlain(options)) throw wrongValue(name, 'a plain object', options)
  for (const [key, value] of Object.entries(options)) {
    const check = Object.hasOwn(checks, key) ? checks[key] : undefined
    if (!check)
      throw new BlockError(
        'EINVAL',
        `Parameter '${name}' has no option ${shown(key)}, only ${Object.keys(checks).join(', ')}`,
      )
    if (value !== undefined) check(value, key)
  }
}

const BYTES = 'bytes (an ArrayBuffer, or a view of one, that was not transferred)'

/**
 * The bytes of an argument, in the caller's memory: writing to them fills the argument. Returns a
 * `Uint8Array` unchanged. Hot paths test for that first, and call this for other values and for empty ones,
 * since a transferred buffer looks empty.
 *
 * @throws BlockError EINVAL that names the argument
 */
export function bytesOf(value: unknown, name: string, expected = BYTES): Uint8Array {
  try {
    // Only real memory can be viewed, from any realm, and only until it is transferred.
    const view = ArrayBuffer.isView(value) ? value : new DataView(value as ArrayBuffer)
    const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength)
    return value instanceof Uint8Array ? value : bytes
  } catch {
    throw wrongValue(name, expected, value)
  }
}

/** The bytes of an argument to be filled. @throws BlockError EINVAL that shows how to make such a buffer */
export const bytesToFill = (value: unknown): Uint8Array =>
  bytesOf(value, 'into', `${BYTES} to be filled, such as new Uint8Array(512)`)

/** A buffer was transferred, or resized, while a request used it. */
export const goneBuffer = (name: string): BlockError =>
  new BlockError('EINVAL', `Parameter '${name}' was transferred or resized during the request`)
