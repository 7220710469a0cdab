/** What may follow an option or a command, for completion in any shell. */
import type { CommandTable, ProgramTable } from '../kit/command.ts'
import { spellingsOf } from '../kit/help.ts'
import type { OptionKind } from '../kit/options.ts'

/** The words that a value may be; `file` for names of files, `any` for what cannot be completed. */
export type Values = readonly string[] | 'file' | 'any'

/** An option as shells complete it. */
export interface CompletedOption {
  /** With dashes. */
  readonly spellings: readonly string[]
  readonly help: string
  /** undefined: it has no value. */
  readonly values: Values | undefined
  /** The name of its value. */
  readonly argument: string
}

/** A command as shells complete it. */
export interface CompletedCommand {
  readonly name: string
  readonly summary: string
  readonly options: readonly CompletedOption[]
  readonly operands: Values
}

const valuesOf = (
  { argument, values }: OptionKind<unknown>,
  formats: readonly string[],
): Values | undefined => {
  if (argument === undefined) return undefined
  return values === 'format' ? formats : (values ?? 'any')
}

const completedCommand = (
  { name, summary, options = {}, operandValues }: CommandTable,
  formats: readonly string[],
): CompletedCommand => ({
  name,
  summary,
  operands: operandValues ?? 'file',
  options: Object.entries(options).map(([key, kind]) => ({
    spellings: spellingsOf(key, kind),
    help: kind.help ?? '',
    values: valuesOf(kind, formats),
    argument: kind.argument ?? '',
  })),
})

/** The program and its commands as shells complete them. */
export const completed = (
  program: ProgramTable,
): { readonly program: CompletedCommand; readonly commands: readonly CompletedCommand[] } => ({
  program: completedCommand(program, program.formats),
  commands: program.commands.map((command) => completedCommand(command, program.formats)),
})

/** A name for functions of shells. */
export const functionName = (program: string): string => `_${program.replaceAll('-', '_')}`
