/**
 * Completion for bash. Words that name files are left to bash itself, which quotes them; so the function gives words
 * only where it knows all of them.
 */
import type { ProgramTable } from '../kit/command.ts'
import { type CompletedCommand, completed, functionName, type Values } from './values.ts'

const wordList = (values: Values): string => (typeof values === 'string' ? '' : values.join(' '))

/** The pattern of `case` for words. */
const pattern = (words: readonly string[]): string => words.join('|')

/** The arms of `case` for the options of a command that have a value: what may follow each. */
const optionArms = ({ options }: CompletedCommand, indent: string): string =>
  options
    .filter(({ values }) => values !== undefined)
    .map(({ spellings, values }) => {
      const kind = values === 'any' ? 'any' : 'known'
      return `${indent}${pattern(spellings)}) value=${kind} words='${wordList(values!)}' ;;\n`
    })
    .join('')

/** An arm of `case` for a command: the options it has, and what may follow the last word. */
function commandArm(command: CompletedCommand): string {
  const spellings = command.options.flatMap((option) => option.spellings)
  const words = wordList(command.operands)
  return (
    `    ${command.name})\n` +
    `      options='${spellings.join(' ')}'\n` +
    `      case $previous in\n${optionArms(command, '        ')}` +
    `        *) words='${words}' ;;\n      esac ;;\n`
  )
}

/** The script, which bash reads with `source` or `eval`. */
export function bashCompletion(table: ProgramTable): string {
  const { program, commands } = completed(table)
  const name = functionName(program.name)
  const names = commands.map((command) => command.name).join(' ')
  const before = program.options
    .filter(({ values }) => values !== undefined)
    .flatMap((each) => each.spellings)
  return `# Completion of ${program.name} for bash.
${name}() {
  local current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD - 1]}
  local command='' options='' words='' value='' at word
  # bash makes three words of --option=value.
  if [[ $current == = ]]; then current=''
  elif [[ $previous == = ]]; then previous=\${COMP_WORDS[COMP_CWORD - 2]}; fi
  for ((at = 1; at < COMP_CWORD; at++)); do
    word=\${COMP_WORDS[at]}
    case $word in
${before.length > 0 ? `      ${pattern(before)}) ((at++)) ;;\n` : ''}      -*|=) ;;
      *) command=$word; break ;;
    esac
  done
${commands.length === 0 ? "  command=''\n" : ''}  case $command in
    '')
      options='${program.options.flatMap((option) => option.spellings).join(' ')}'
      case $previous in
${optionArms(program, '        ')}        *) words='${names}' ;;
      esac ;;
${commands.map(commandArm).join('')}  esac
  if [[ $value == '' && $current == -* ]]; then words=$options; fi
  COMPREPLY=()
  if [[ $words != '' ]]; then
    for word in $(compgen -W "$words" -- "$current"); do COMPREPLY+=("$word"); done
  elif [[ $value == any ]]; then compopt +o default +o bashdefault 2> /dev/null; fi
}
complete -o bashdefault -o default -F ${name} ${program.name}
`
}
