/** Helps from tables: how options are spelled, and lines of 80 columns that explain them. */
import type { CommandTable } from './command.ts'
import { type OptionKind, type OptionKinds, type Spelling, shortOf } from './options.ts'

/** Columns of a line. */
const WIDTH = 80
/** Where explanations begin, after a shorter or above a longer term. */
const HELP_COLUMN = 28

/** All spellings of an option: letters first, then words, with their dashes. */
export function spellingsOf(key: string, kind: Spelling): readonly string[] {
  const short = shortOf(key, kind)
  const newer = kind.newer ?? []
  const letters = [...(short === undefined ? [] : [short]), ...newer.filter(({ length }) => length === 1)]
  const words = [...(kind.long === undefined ? [] : [kind.long]), ...newer.filter(({ length }) => length > 1)]
  return [...letters.map((letter) => `-${letter}`), ...words.map((word) => `--${word}`)]
}

/** The name of an option's value as helps show it; undefined for an option without value. */
export const shownArgument = ({ argument }: Pick<OptionKind<unknown>, 'argument'>): string | undefined =>
  argument !== undefined && /^[a-z_]+$/.test(argument) ? argument.toUpperCase() : argument

/** Breaks a text into lines of at most `width` columns. */
export const wrapped = (text: string, width: number = WIDTH): readonly string[] =>
  (text.match(new RegExp(`\\S(?:.{0,${width - 1}}(?= |$)|\\S+)`, 'g')) ?? []).map((line) => line.trimEnd())

/** A list of terms, each with its explanation in a column beside it. */
export const explained = (
  list: readonly (readonly [term: string, help: string])[],
  column: number = HELP_COLUMN,
): string =>
  list
    .flatMap(([term, help]) => {
      const start = `  ${term}`
      const lines = wrapped(help, WIDTH - column).map((line) => `${' '.repeat(column)}${line}`)
      if (start.length > column - 2 || lines.length === 0) return [start, ...lines]
      return [start.padEnd(column) + lines[0]!.trimStart(), ...lines.slice(1)]
    })
    .map((line) => `${line}\n`)
    .join('')

/** The terms and helps of options, for {@link explained}. */
export const optionTerms = (kinds: OptionKinds): (readonly [term: string, help: string])[] =>
  Object.entries(kinds).map(([key, kind]) => {
    const spelled = spellingsOf(key, kind)
    const argument = shownArgument(kind)
    const indent = spelled[0]!.startsWith('--') ? '    ' : ''
    return [`${indent}${spelled.join(', ')}${argument === undefined ? '' : ` ${argument}`}`, kind.help ?? '']
  })

/** A summary as a sentence of its own. */
export const sentence = (text: string): string => `${text[0]!.toUpperCase()}${text.slice(1)}.`

/**
 * The help of one subcommand: what it does, its operands and options, an example.
 *
 * @param program the name that the user typed
 */
export function commandText(program: string, table: CommandTable): string {
  const { name, summary, details, options = {}, operands, operandHelp = {}, example } = table
  const usage = [program, name, '[options]', ...(operands === undefined ? [] : [operands])].join(' ')
  const parts = [
    `Usage: ${usage}\n`,
    [sentence(summary), ...(details === undefined ? [] : wrapped(details.join(' ')))].join('\n'),
    '\n',
    ...(Object.keys(operandHelp).length > 0 ? ['\n', explained(Object.entries(operandHelp))] : []),
    `\nOptions:\n${explained(optionTerms(options))}`,
    ...(example === undefined ? [] : [`\nExample:\n  ${program} ${example}\n`]),
  ]
  return parts.join('')
}
