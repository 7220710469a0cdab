/** The lists of `-o`: `name=value,...`, checked against a driver's table, with QEMU's messages. */
import { type OptionTable, type OptionType, readUnsigned } from '@vmblock/block-core/driver'
import { Failure, type OptionKind, readBytes, type Warn } from '@vmblock/cli'

/** The largest size that drivers take, in bytes. */
const MAX_UINT64 = 0xffff_ffff_ffff_ffffn

/** `-o`: several lists are joined. */
export const optionList: OptionKind<string> = {
  short: 'o',
  newer: ['options'],
  argument: 'options',
  help: "options of the format, name=value,...; '-o help' lists what there is",
  read(text, _warn, before) {
    // When lists are joined, a comma at either end would become an escaped comma.
    const trailing = /,*$/.exec(text)![0].length
    if (text === '' || text.startsWith(',') || trailing % 2 === 1)
      throw new Failure(`Invalid option list: ${text}`)
    return before === undefined ? text : `${before},${text}`
  },
}

/** One option of a list. */
interface ListedOption {
  readonly name: string
  readonly value: string
  /** Whether it was given without a value. */
  readonly isFlag: boolean
}

/** Splits a list. A name without a value is `on`, or `off` after `no`; `,,` is a comma inside a value. */
function* splitList(list: string): Generator<ListedOption> {
  for (let at = 0; at < list.length; ) {
    const end = at + list.slice(at).search(/[=,]|$/)
    const name = list.slice(at, end)
    if (list[end] !== '=') {
      const negated = name.startsWith('no')
      yield { name: negated ? name.slice(2) : name, value: negated ? 'off' : 'on', isFlag: !negated }
      at = end + 1
      continue
    }
    const raw = /^(?:[^,]|,,)*/.exec(list.slice(end + 1))![0]
    yield { name, value: raw.replaceAll(',,', ','), isFlag: false }
    at = end + 1 + raw.length + 1
  }
}

/** Whether a list requests help. */
export function asksForHelp(list: string): boolean {
  for (const { name, isFlag } of splitList(list)) if (isFlag && (name === 'help' || name === '?')) return true
  return false
}

/** The value of one option: its text, and its number if the type is numeric. */
export interface GivenOption {
  readonly text: string
  readonly number?: bigint
}

/** Checks the text of one option. @throws Failure */
export function readOption(
  name: string,
  text: string,
  type: OptionType<unknown>['type'],
  warn: Warn,
): GivenOption {
  if (type === 'bool' && !/^(on|yes|true|y|off|no|false|n)$/.test(text))
    throw new Failure(`Parameter '${name}' expects 'on' or 'off'`)
  if (type === 'size') {
    const number = readBytes(text, warn, MAX_UINT64)
    if (number === 'ERANGE') throw new Failure(`Value '${text}' is out of range for parameter '${name}'`)
    if (number !== 'EINVAL') return { text, number }
    throw new Failure(`Parameter '${name}' expects a non-negative number below 2^64`, {
      hint:
        'Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\n' +
        'and exabytes, respectively.',
    })
  }
  if (type === 'num') {
    const number = readUnsigned(text)
    if (number === 'ERANGE') throw new Failure(`Value '${text}' is too large for parameter '${name}'`)
    if (number === 'EINVAL') throw new Failure(`Parameter '${name}' expects a number`)
    return { text, number }
  }
  return { text }
}

/**
 * Parses a list with a table; of equal names the last one counts, `id` is ignored.
 *
 * @throws Failure for the first option that is unknown or ill-typed
 */
export function readOptionList(list: string, table: OptionTable, warn: Warn): Map<string, GivenOption> {
  const given = new Map<string, GivenOption>()
  for (const { name, value } of splitList(list)) {
    if (name === 'id') continue
    const type = Object.hasOwn(table, name) ? table[name]!.type : undefined
    if (type === undefined) throw new Failure(`Invalid parameter '${name}'`)
    given.set(name, readOption(name, value, type, warn))
  }
  return given
}

/** The value for a driver's table: a number if it is a safe integer, else the text. */
export function optionValue({ text, number }: GivenOption): string | number {
  const exact = number === undefined ? Number.NaN : Number(number)
  return Number.isSafeInteger(exact) ? exact : text
}

/** Options and values as in the `Formatting` line, each with a space before it. */
export function shownOptions(table: OptionTable, given: ReadonlyMap<string, GivenOption>): string {
  let line = ''
  for (const [name, { type, default: fallback }] of Object.entries(table)) {
    const option = given.get(name)
    // In QEMU preallocation has no default, so it is not shown.
    if (!option && (fallback === undefined || name === 'preallocation')) continue
    line += ` ${name}=${shownValue(type, option, fallback)}`
  }
  return line
}

function shownValue(
  type: OptionType<unknown>['type'],
  option: GivenOption | undefined,
  fallback: unknown,
): string {
  if (option?.number !== undefined) return String(BigInt.asIntN(64, option.number))
  if (option) return type === 'str' ? option.text.replaceAll(',', ',,') : option.text
  return typeof fallback === 'boolean' ? (fallback ? 'on' : 'off') : String(fallback)
}

/** The lines of `-o help`: sorted, with explanations aligned if there is room. */
export function optionHelp(table: OptionTable): string {
  return Object.entries(table)
    .filter(([, { isUnlisted }]) => !isUnlisted)
    .map(
      ([name, { type, help }]) =>
        `${`  ${name}=<${type === 'bool' ? 'bool (on/off)' : type}>`.padEnd(24)} - ${help}\n`,
    )
    .sort((a, b) => (a < b ? -1 : 1))
    .join('')
}
