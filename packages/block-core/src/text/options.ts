/**
 * Options as tables: one declaration gives the parser for strings (`key=value`), the check for values from
 * TypeScript or JSON, the TypeScript type, and the text of `-o help`. Users may spell keys as QEMU does.
 */
import { shown, wrongValue } from '../base/arguments.ts'
import { BlockError } from '../base/errors.ts'
import { readSize, readUnsigned } from './number-text.ts'

/** How one option is parsed, to a `T`. `I` is what TypeScript lets users give for it. */
export interface OptionType<T, I = T> {
  /** QEMU's name of the type, as `-o help` prints it in angle brackets: `bool`, `size`, `num`, `str`. */
  readonly type: 'bool' | 'size' | 'num' | 'str' | 'object'
  /** One line for `-o help`; empty for runtime options that say in a comment what they do. */
  readonly help: string
  readonly default?: T
  /** For formats: the protocol below implements the option, and `-o help` lists it with its options. */
  readonly isForFile?: boolean
  /** `-o help` leaves it out: scripts compare that text, and QEMU 7.2 does not have the option. */
  readonly isUnlisted?: boolean
  /**
   * Turns the user's input into the value.
   *
   * @throws BlockError EINVAL that names the option
   */
  parse(value: unknown, key: string): T
  /** Never there: it carries the type. */
  readonly input?: I
}

/** Options by key. */
// biome-ignore lint/suspicious/noExplicitAny: a table holds options of any type
export type OptionTable = Readonly<Record<string, OptionType<any, any>>>

/** The table of a driver that has no options. */
export type NoOptions = Readonly<Record<never, OptionType<never>>>

/** The parsed values of a table: options with a default are always present, others may be undefined. */
export type OptionValues<O> = {
  readonly [K in keyof O]: O[K] extends { readonly default: infer D }
    ? D
    : // biome-ignore lint/suspicious/noExplicitAny: inference
      O[K] extends OptionType<infer T, any>
      ? T | undefined
      : never
}

/** `lazyRefcounts` for `lazy-refcounts` and `lazy_refcounts`: how TypeScript spells keys of QEMU. */
export type CamelKey<K extends string> = K extends `${infer A}-${infer B}` | `${infer A}_${infer B}`
  ? `${A}${Capitalize<CamelKey<B>>}`
  : K

// biome-ignore lint/suspicious/noExplicitAny: inference
type Input<X> = X extends OptionType<any, infer I> ? I : never
/** The first part of a dotted key. */
type Head<K> = K extends `${infer H}.${string}` ? H : K
/** What follows `H.` in a dotted key. */
type Tail<K, H extends string> = K extends `${H}.${infer R}` ? R : never
type Leaves<O, H extends string> = {
  readonly [R in Tail<keyof O, H> as CamelKey<R>]?:
    | (`${H}.${R}` extends keyof O ? Input<O[`${H}.${R}`]> : never)
    | undefined
}

/**
 * What TypeScript users give for the options of a table: keys in camelCase, none required, groups of dotted keys
 * (`encrypt.format`) as trees (`encrypt: { format }`).
 */
export type OptionInput<O> = {
  readonly [H in Head<keyof O & string> as CamelKey<H>]?:
    | (H extends keyof O ? Input<O[H]> : never)
    | ([Tail<keyof O, H>] extends [never] ? never : Leaves<O, H>)
    | undefined
}

/** A tree of options as the user gave it: strings, numbers, booleans, null, nested trees, open nodes. */
export type RawOptions = { readonly [key: string]: unknown }

function parseBool(value: unknown, key: string): boolean {
  if (typeof value === 'boolean') return value
  if (value === 'on' || value === 'yes' || value === 'true' || value === 'y') return true
  if (value === 'off' || value === 'no' || value === 'false' || value === 'n') return false
  throw new BlockError('EINVAL', `Parameter '${key}' expects 'on' or 'off'`)
}

const TWO_63 = 2n ** 63n
const TWO_64 = 2 ** 64

/**
 * Reads a size as {@link readSize} does.
 *
 * @returns bytes, rounded if they exceed 2^53; undefined if the text does not have that form; Infinity if the
 *   size exceeds 2^63-1
 */
export function parseSize(text: string): number | undefined {
  const bytes = readSize(text)
  if (bytes === 'EINVAL') return undefined
  return bytes === 'ERANGE' || bytes >= TWO_63 ? Number.POSITIVE_INFINITY : Number(bytes)
}

function parseSizeOption(value: unknown, key: string): number {
  const bytes = typeof value === 'number' ? value : typeof value === 'string' ? readSize(value) : 'EINVAL'
  if (bytes === 'ERANGE' || Number(bytes) >= TWO_64)
    throw new BlockError('EINVAL', `Value ${shown(value)} is out of range for parameter '${key}'`)
  if (bytes === 'EINVAL' || !(bytes >= 0))
    throw new BlockError(
      'EINVAL',
      `Parameter '${key}' expects a non-negative number below 2^64\n` +
        'Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\nand exabytes, respectively.',
    )
  return safe(Number(bytes), value, key)
}

/** A whole number as C's `strtoull` reads it with base 0. */
function parseNumber(value: unknown, key: string): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0) return safe(value, value, key)
  const number = typeof value === 'string' ? readUnsigned(value) : 'EINVAL'
  if (number === 'EINVAL') throw new BlockError('EINVAL', `Parameter '${key}' expects a number`)
  if (number === 'ERANGE')
    throw new BlockError('EINVAL', `Value ${shown(value)} is too large for parameter '${key}'`)
  return safe(Number(number), value, key)
}

/** Refuses, rather than rounds, values that a number cannot hold. */
function safe(number: number, value: unknown, key: string): number {
  if (Number.isSafeInteger(number)) return number
  if (!Number.isInteger(number)) throw new BlockError('EINVAL', `Parameter '${key}' expects a number`)
  throw new BlockError('EFBIG', `Parameter '${key}' exceeds 2^53-1: ${shown(value)}`)
}

/** Makes one kind of {@link OptionType}; with a default, the value is always present. */
function make<T, I = T>(type: OptionType<T>['type'], parse: OptionType<T>['parse']) {
  function option(help?: string): OptionType<T, I>
  function option<D extends T>(help: string, fallback: D): OptionType<T, I> & { readonly default: T }
  function option(help = '', fallback?: T): OptionType<T, I> {
    return fallback === undefined ? { type, help, parse } : { type, help, parse, default: fallback }
  }
  return option
}

/** `on` or `off`. */
export const bool = make<boolean>('bool', parseBool)
/** Bytes, with QEMU's suffixes. */
export const size = make<number, number | string>('size', parseSizeOption)
/** A whole number, decimal or hexadecimal. */
export const integer = make<number>('num', parseNumber)
/** Any text; numbers and booleans from JSON are refused. */
export const text = make<string>('str', (value, key) => {
  if (typeof value !== 'string') throw wrongValue(key, 'a string', value)
  return value
})

/** One of a few words. */
export function oneOf<const W extends string>(words: readonly W[], help: string): OptionType<W>
export function oneOf<const W extends string>(
  words: readonly W[],
  help: string,
  fallback: NoInfer<W>,
): OptionType<W> & { readonly default: W }
export function oneOf<const W extends string>(
  words: readonly W[],
  help: string,
  fallback?: W,
): OptionType<W> {
  const parse = (value: unknown, key: string): W => {
    if (typeof value === 'string' && (words as readonly string[]).includes(value)) return value as W
    throw new BlockError('EINVAL', `Parameter '${key}' does not accept value ${shown(value)}`)
  }
  return fallback === undefined
    ? { type: 'str', help, parse }
    : { type: 'str', help, parse, default: fallback }
}

/** An object that only TypeScript can pass: it has no text form. `what` names it in messages (`a Blob`). */
export const objectOf = <T>(
  is: (value: unknown) => value is T,
  what: string,
  help: string,
): OptionType<T> => ({
  type: 'object',
  help: `${help} (from TypeScript only)`,
  parse(value, key) {
    if (is(value)) return value
    throw new BlockError('EINVAL', `Parameter '${key}' expects ${what}`)
  },
})

/** A list of option groups: an array in TypeScript and JSON, `key.0.name=...` in strings. */
export function listOf<O extends OptionTable>(
  table: O,
  help: string,
): OptionType<readonly OptionValues<O>[], readonly OptionInput<O>[]> {
  return {
    type: 'object',
    help,
    parse(value, key) {
      const items = Array.isArray(value) ? value : indexed(value, key)
      return items.map((item, index) =>
        parseOptions(table, asTree(item, `${key}.${index}`), `${key}.${index}.`),
      )
    },
  }
}

function asTree(value: unknown, key: string): RawOptions {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw wrongValue(key, 'a group of options', value)
  return value as RawOptions
}

/** Turns `{0: a, 1: b}`, the result of dotted keys, into a list. */
function indexed(value: unknown, key: string): unknown[] {
  const tree = asTree(value, key)
  return Object.keys(tree).map((_, index) => {
    if (!(index in tree)) throw new BlockError('EINVAL', `Parameter '${key}.${index}' missing`)
    return tree[index]
  })
}

/** A key in QEMU's spelling: `lazy-refcounts` for `lazyRefcounts`. Keys without capitals stay unchanged. */
export const canonicalKey = (key: string): string =>
  key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)

/** The TypeScript spelling of a canonical key, which drivers use. */
export const camelKey = (key: string): string =>
  key.replace(/-([a-z0-9])/g, (_, letter: string) => letter.toUpperCase())

/**
 * The key of a table that a user's key stands for: itself, or in QEMU's spelling what the table has in camelCase, or in
 * camelCase what the table spells as QEMU does (those of image creation: `cluster_size`, `encrypt.key-secret`).
 */
export function keyOfTable(table: OptionTable, given: string): string | undefined {
  return (
    [given, camelKey(given)].find((key) => Object.hasOwn(table, key)) ??
    Object.keys(table).find((key) => camelKey(key.replaceAll('_', '-')) === given)
  )
}

/**
 * Checks a group of options against a table. Messages name options as they are given.
 *
 * @param prefix text before a key in messages
 * @throws BlockError EINVAL that names an unknown or ill-typed option
 */
export function parseOptions<O extends OptionTable>(table: O, raw: RawOptions, prefix = ''): OptionValues<O> {
  const values: Record<string, unknown> = {}
  for (const [key, type] of Object.entries(table)) if (type.default !== undefined) values[key] = type.default
  for (const [rawKey, value] of Object.entries(raw)) {
    if (value === undefined) continue
    const key = keyOfTable(table, rawKey)
    if (key === undefined) throw new BlockError('EINVAL', `Invalid parameter '${prefix}${rawKey}'`)
    values[key] = table[key]!.parse(value, prefix + rawKey)
  }
  return values as OptionValues<O>
}
