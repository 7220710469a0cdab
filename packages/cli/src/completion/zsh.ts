/** Completion for zsh: specifications for its function _arguments. */
import type { ProgramTable } from '../kit/command.ts'
import { type CompletedCommand, type CompletedOption, completed, type Values } from './values.ts'

/** A text inside of quotes of the shell. */
const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`

/** A help inside of brackets, which colons would end. */
const escaped = (text: string): string => text.replaceAll(/[\\[\]:]/g, '\\$&')

const action = (values: Values): string => {
  if (values === 'file') return '_files'
  return values === 'any' ? ' ' : `(${values.join(' ')})`
}

/** A specification for each spelling of an option. */
function specifications({ spellings, help, values, argument }: CompletedOption): readonly string[] {
  return spellings.map((spelling) => {
    const end = values === undefined ? '' : spelling.startsWith('--') ? '=' : '+'
    const value = values === undefined ? '' : `:${escaped(argument)}:${action(values)}`
    return quoted(`*${spelling}${end}[${escaped(help)}]${value}`)
  })
}

const lines = (command: CompletedCommand, indent: string): string =>
  command.options
    .flatMap(specifications)
    .map((line) => `${indent}${line} \\\n`)
    .join('')

const commandArm = (command: CompletedCommand): string =>
  `        ${command.name})
          _arguments -s -S : \\
${lines(command, '            ')}            '*:${command.name}:${action(command.operands)}' ;;
`

/** The script: a file of the directories in `fpath`, or to be read with `source` or `eval`. */
export function zshCompletion(table: ProgramTable): string {
  const { program, commands } = completed(table)
  const name = `_${program.name}`
  const rest =
    commands.length === 0
      ? `    '*:file:_files'\n`
      : `    '1:command:->command' \\
    '*::argument:->argument'
  case $state in
    command)
      local -a commands=(
${commands.map((each) => `        ${quoted(`${each.name}:${each.summary}`)}\n`).join('')}      )
      _describe command commands ;;
    argument)
      case $words[1] in
${commands.map(commandArm).join('')}      esac ;;
  esac
`
  return `#compdef ${program.name}
# Completion of ${program.name} for zsh.
${name}() {
  local context state state_descr line
  typeset -A opt_args
  _arguments -s -S${commands.length === 0 ? '' : ' -C'} : \\
${lines(program, '    ')}${rest}}
if [[ $funcstack[1] == ${name} ]]; then ${name} "$@"; else compdef ${name} ${program.name}; fi
`
}
