/**
 * Reads blkdebug rules, which are option groups, from a config file or from the node's options. Messages as
 * in QEMU's util/qemu-config.c and block/blkdebug.c.
 */
import { SECTOR } from '../base/bits.ts'
import { BlockError } from '../base/errors.ts'
import { DEBUG_EVENTS } from '../contract/debug-events.ts'
import {
  bool,
  camelKey,
  integer,
  type OptionInput,
  type OptionTable,
  type OptionType,
  type OptionValues,
  parseOptions,
  type RawOptions,
} from '../text/options.ts'
import { type InjectErrorRule, IO_TYPES, type RuleSet, type SetStateRule } from './blkdebug-rules.ts'

const invalid = (message: string): BlockError => new BlockError('EINVAL', message)

/** One of a list of words. As in QEMU, the message contains only the wrong word. */
const word = <const W extends string>(words: readonly W[], help: string): OptionType<W> => ({
  type: 'str',
  help,
  parse(value) {
    const known = words.find((candidate) => candidate === value)
    if (known === undefined) throw invalid(`invalid parameter value: ${String(value)}`)
    return known
  },
})

/** A sector number, in units of 512 bytes; -1: any. */
const sector: OptionType<number> = {
  type: 'num',
  help: 'sector the request must touch; -1: any',
  parse: (value, key) => (value === -1 || value === '-1' ? -1 : integer('').parse(value, key)),
}

const INJECT_ERROR = {
  event: word(DEBUG_EVENTS, 'event that arms the error'),
  state: integer('state that the rule needs; 0: any', 0),
  iotype: word(IO_TYPES, 'kind of request that fails'),
  errno: integer('Linux error number', 5),
  sector,
  once: bool('only the first request fails', false),
  immediately: bool('fail without waiting for the event loop', false),
}

const SET_STATE = {
  event: word(DEBUG_EVENTS, 'event that changes the state'),
  state: integer('state that the rule needs; 0: any', 0),
  new_state: integer('state from then on', 0),
}

/** Requires the event, which every rule needs. */
function requireEvent<E>(event: E | undefined): E {
  if (event === undefined) throw invalid('Missing event name for rule')
  return event
}

function injectErrorRule(raw: RawOptions): InjectErrorRule {
  const { event, state, iotype, errno, sector: at = -1, once, immediately } = parseOptions(INJECT_ERROR, raw)
  const offset = at === -1 ? undefined : at * SECTOR
  return { event: requireEvent(event), state, iotype, errno, offset, once, immediately }
}

function setStateRule(raw: RawOptions): SetStateRule {
  const { event, state, new_state: newState } = parseOptions(SET_STATE, raw)
  return { event: requireEvent(event), state, newState }
}

/**
 * An option that holds rules: a list of groups (`inject-error.0.event=...`), or a single group
 * (`inject-error.event=...`).
 */
function ruleList<O extends OptionTable, R>(
  section: string,
  table: O,
  rule: (raw: RawOptions) => R,
  help: string,
): OptionType<readonly R[], readonly OptionInput<O>[]> {
  const isGroup = (value: unknown): value is RawOptions => typeof value === 'object' && value !== null
  const groupsOf = (value: unknown): unknown[] => {
    if (Array.isArray(value)) return value
    if (!isGroup(value)) throw invalid(`[${section}] expects groups of options`)
    const keys = Object.keys(value)
    if (keys.some((key) => camelKey(key) in table)) {
      const unknown = keys.find((key) => !(camelKey(key) in table))
      if (unknown !== undefined) throw invalid(`Unknown option '${unknown}' for [${section}]`)
      return [value]
    }
    return keys.map((key, index) => {
      if (!(index in value)) throw invalid(`Unused option '${key}' for [${section}]`)
      return value[index]
    })
  }
  return {
    type: 'object',
    help,
    parse: (value) =>
      groupsOf(value).map((group, index) => {
        if (!isGroup(group)) throw invalid(`[${section}] section (index ${index}) does not consist of keys`)
        const unknown = Object.keys(group).find((key) => !(camelKey(key) in table))
        if (unknown !== undefined)
          throw invalid(`[${section}] section doesn't support the option '${unknown}'`)
        return rule(group)
      }),
  }
}

/** The rules as options of the node. */
export const ruleOptions = {
  injectError: ruleList('inject-error', INJECT_ERROR, injectErrorRule, 'errors to inject'),
  setState: ruleList('set-state', SET_STATE, setStateRule, 'changes of state'),
}

/** Joins rules: those of the config file (`first`) come before those of the options. */
export function joinRules(
  first: RuleSet,
  { injectError = [], setState = [] }: OptionValues<typeof ruleOptions>,
): RuleSet {
  return { injectError: [...first.injectError, ...injectError], setState: [...first.setState, ...setState] }
}

/** No rules. */
export const NO_RULES: RuleSet = { injectError: [], setState: [] }

/**
 * Reads a config file: each section `[inject-error]` or `[set-state]` is a rule with lines `key = "value"`;
 * `#` begins a comment line.
 *
 * @throws BlockError EINVAL with QEMU's words
 */
export function parseBlkdebugConfig(content: string): RuleSet {
  const groups: { readonly name: string; readonly values: Record<string, string> }[] = []
  for (const line of content.split('\n')) {
    if (line.trim() === '' || line.startsWith('#')) continue
    const section = /^\[([^\] "]+)(?: +"[^"]*")?\]/.exec(line)
    if (section) {
      groups.push({ name: section[1]!, values: {} })
      continue
    }
    const setting = /^\s*([^\s=]+)\s*=\s*"([^"]*)"/.exec(line)
    if (!setting) throw invalid('parse error')
    const group = groups.at(-1)
    if (!group) throw invalid('no group defined')
    group.values[setting[1]!] = setting[2]!
  }
  const injectError: InjectErrorRule[] = []
  const setState: SetStateRule[] = []
  for (const { name, values } of groups) {
    if (name === 'inject-error') injectError.push(injectErrorRule(values))
    else if (name === 'set-state') setState.push(setStateRule(values))
    else throw invalid(`There is no option group '${name}'`)
  }
  return { injectError, setState }
}
