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
  /** A use of the command as it is typed, for the help. */
  readonly example?: string
  /** All words after the name, where the usage line cannot be made from `options` and `operands`. */
  readonly usage?: string
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
