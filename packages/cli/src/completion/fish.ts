/** Completion for fish: a line of `complete` for each command and option. */
import type { ProgramTable } from '../kit/command.ts'
import { type CompletedCommand, type CompletedOption, completed, type Values } from './values.ts'

const quoted = (text: string): string => `'${text.replaceAll(/[\\']/g, '\\$&')}'`

/** What follows an option with a value: words, files, or nothing that could be completed. */
const argumentWords = (values: Values | undefined): string => {
  if (values === undefined) return ''
  if (values === 'file') return ' -r -F'
  return values === 'any' ? ' -x' : ` -x -a ${quoted(values.join(' '))}`
}

const optionLine = (start: string, { spellings, help, values }: CompletedOption): string => {
  const spelled = spellings.map((spelling) =>
    spelling.startsWith('--') ? `-l ${spelling.slice(2)}` : `-s ${spelling.slice(1)}`,
  )
  return `${start} ${spelled.join(' ')}${argumentWords(values)} -d ${quoted(help)}\n`
}

function commandLines(program: string, { name, summary, options, operands }: CompletedCommand): string {
  const start = `complete -c ${program} -n '__fish_seen_subcommand_from ${name}'`
  const words =
    operands === 'file' ? '' : `${start} -f${operands === 'any' ? '' : ` -a ${quoted(operands.join(' '))}`}\n`
  return (
    `complete -c ${program} -n __fish_use_subcommand -f -a ${name} -d ${quoted(summary)}\n` +
    words +
    options.map((option) => optionLine(start, option)).join('')
  )
}

/** The script: a file of the directory of completions, or to be read with `source`. */
export function fishCompletion(table: ProgramTable): string {
  const { program, commands } = completed(table)
  const condition = commands.length === 0 ? '' : ' -n __fish_use_subcommand'
  return [
    `# Completion of ${program.name} for fish.\n`,
    ...program.options.map((option) => optionLine(`complete -c ${program.name}${condition}`, option)),
    ...commands.map((command) => commandLines(program.name, command)),
  ].join('')
}
