/**
 * The grammar of C's getopt, on which scripts rely: options and operands in any order, bundled short
 * options, values attached or apart, `--` as the end, abbreviated long options.
 */

/** One option as it stood on the line. */
export interface FoundOption {
  readonly kind: 'option'
  /** The short letter, or the long option's name where it has no letter. */
  readonly name: string
  /** Undefined for an option that takes none. */
  readonly value: string | undefined
}

/** A mistake, in the C library's words but without the program's name in front. */
export interface BadOption {
  readonly kind: 'error'
  readonly message: string
}

/** A long option. */
export interface LongOption {
  readonly name: string
  readonly takesValue: boolean
  /** The short letter it stands for. */
  readonly letter?: string | undefined
}

/** Which options there are. */
export interface OptionGrammar {
  /** Short options: letter to whether it takes a value. */
  readonly short: ReadonlyMap<string, boolean>
  readonly long?: readonly LongOption[]
}

/** What was found, in order. */
export interface ParsedLine {
  /** Ends with the first mistake, as programs stop there. */
  readonly found: readonly (FoundOption | BadOption)[]
  readonly operands: readonly string[]
  /** All words in the order getopt leaves them: options first. */
  readonly permuted: readonly string[]
}

/** Splits `words` (without the command's name) into options and operands. */
export function getopt(words: readonly string[], grammar: OptionGrammar): ParsedLine {
  const found: (FoundOption | BadOption)[] = []
  const operands: string[] = []
  const optionWords: string[] = []
  for (let i = 0; i < words.length; i++) {
    const word = words[i]!
    if (word === '--') {
      optionWords.push(word)
      operands.push(...words.slice(i + 1))
      break
    }
    if (!word.startsWith('-') || word === '-') {
      operands.push(word)
      continue
    }
    optionWords.push(word)
    const next = words[i + 1]
    const took =
      word.startsWith('--') && grammar.long
        ? longOption(word.slice(2), next, grammar.long, found)
        : shortOptions(word.slice(1), next, grammar.short, found)
    if (took) optionWords.push(words[++i]!)
    if (found.at(-1)?.kind === 'error') {
      operands.push(...words.slice(i + 1))
      break
    }
  }
  return { found, operands, permuted: [...optionWords, ...operands] }
}

type Found = (FoundOption | BadOption)[]

/** Reads `-abc`. @returns whether the next word was taken as a value */
function shortOptions(
  letters: string,
  next: string | undefined,
  short: ReadonlyMap<string, boolean>,
  found: Found,
): boolean {
  for (let i = 0; i < letters.length; i++) {
    const name = letters[i]!
    const takesValue = short.get(name)
    if (takesValue === undefined) {
      found.push({ kind: 'error', message: `invalid option -- '${name}'` })
      return false
    }
    if (!takesValue) {
      found.push({ kind: 'option', name, value: undefined })
      continue
    }
    const attached = letters.slice(i + 1)
    const value = attached === '' ? next : attached
    if (value === undefined)
      found.push({ kind: 'error', message: `option requires an argument -- '${name}'` })
    else found.push({ kind: 'option', name, value })
    return attached === '' && next !== undefined
  }
  return false
}

/** Reads `--name` or `--name=value`. @returns whether the next word was taken as a value */
function longOption(
  text: string,
  next: string | undefined,
  long: readonly LongOption[],
  found: Found,
): boolean {
  const equals = text.indexOf('=')
  const typed = equals < 0 ? text : text.slice(0, equals)
  const attached = equals < 0 ? undefined : text.slice(equals + 1)
  const candidates = long.filter((option) => option.name.startsWith(typed))
  const option =
    long.find(({ name }) => name === typed) ?? (candidates.length === 1 ? candidates[0] : undefined)
  const fail = (message: string): boolean => {
    found.push({ kind: 'error', message })
    return false
  }
  if (!option) {
    if (candidates.length === 0) return fail(`unrecognized option '--${text}'`)
    const names = candidates.map(({ name }) => `'--${name}'`).join(' ')
    return fail(`option '--${text}' is ambiguous; possibilities: ${names}`)
  }
  const name = option.letter ?? option.name
  if (!option.takesValue) {
    if (attached !== undefined) return fail(`option '--${option.name}' doesn't allow an argument`)
    found.push({ kind: 'option', name, value: undefined })
    return false
  }
  const value = attached ?? next
  if (value === undefined) return fail(`option '--${option.name}' requires an argument`)
  found.push({ kind: 'option', name, value })
  return attached === undefined
}
