/** What every program's commands have: a table that the parser and the help read. Programs add rules of their own. */
import { usageFailure } from './failure.ts'
import type { OptionKinds } from './options.ts'

/** The table of one command. */
export interface CommandTable<O extends OptionKinds = OptionKinds> {
  readonly name: string
  /** One line for the help. */
  readonly summary: string
  /** More lines for the help. */
  readonly details?: readonly string[]
  readonly options?: O
  /** The operands, for the usage line. */
  readonly operands?: string
  /** What the words of `operands` are: a line each, for the help. */
  readonly operandHelp?: Readonly<Record<string, string>>
  /** What the operands may be, for completion: these words, or anything. Names of files if it is absent. */
  readonly operandValues?: readonly string[] | 'any'
  /** A use of the command as it is typed, for the help. */
  readonly example?: string
  /** All words after the name, where the usage line cannot be made from `options` and `operands`. */
  readonly usage?: string
}

/** The tables of a whole program: what its helps, manuals and completions are made from. */
export interface ProgramTable extends CommandTable {
  readonly options: OptionKinds
  /** The subcommands, each with all the options that it takes; none if operands of the program are files. */
  readonly commands: readonly CommandTable[]
  /** The names that options take as formats. */
  readonly formats: readonly string[]
}

/** The usage line of a command: its name, options and operands. */
export function usageLine({ name, options = {}, operands, usage }: CommandTable, shownName = name): string {
  if (usage !== undefined) return `${shownName} ${usage}`
  const spelled = Object.values(options).map(({ short, long, argument }) => {
    if (short !== undefined) return argument === undefined ? `[-${short}]` : `[-${short} ${argument}]`
    return argument === undefined ? `[--${long}]` : `[--${long}=${argument}]`
  })
  return [shownName, ...spelled, ...(operands === undefined ? [] : [operands])].join(' ')
}

/** The only operand of a command. @param refuse makes what is thrown for none, or several */
export function oneImage(
  { operands }: { readonly operands: readonly string[] },
  refuse: (message: string) => Error = usageFailure,
): string {
  const [filename, ...more] = operands
  if (filename === undefined || more.length > 0) throw refuse('Expecting one image file name')
  return filename
}
