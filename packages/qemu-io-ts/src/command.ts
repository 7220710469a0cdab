/**
 * What a command is: data. The dispatcher reads a command's words by its tables, so no command parses
 * anything, and help and completion come from the same tables.
 */
import type { BlockNode } from '@vmblock/block-core'
import type { Session } from './session.ts'

/** Whether a command succeeded; a failed one makes the program's exit status 1. */
export type Outcome = 'ok' | 'failed'

/** Ends a command early with a text: thrown by parsers and commands, caught by the dispatcher. */
export class Stop extends Error {
  override readonly name = 'Stop'
  /** `error` also puts the program's name before the text. */
  readonly stream: 'print' | 'error'
  readonly outcome: Outcome

  constructor(text: string, stream: 'print' | 'error' = 'print', outcome: Outcome = 'failed') {
    super(text)
    this.stream = stream
    this.outcome = outcome
  }
}

/** Ends a command with its usage line: an option or the number of operands is wrong. */
export class UsageMistake extends Error {
  override readonly name = 'UsageMistake'
}

/** How one option of a command is read. */
export interface OptionKind<T> {
  readonly takesValue: boolean
  /** @throws Stop */
  parse(text: string, session: Session): T
}

/** Options by letter. */
// biome-ignore lint/suspicious/noExplicitAny: a table holds options of any type
export type OptionKinds = Readonly<Record<string, OptionKind<any>>>

/** The options that were given, each with its last value. */
export type OptionsOf<O extends OptionKinds> = {
  readonly [K in keyof O]?: O[K] extends OptionKind<infer T> ? T : never
}

/** One use of a command. */
export interface Call<O extends OptionKinds = OptionKinds> {
  readonly session: Session
  readonly options: OptionsOf<O>
  /** The options as given, in order, for those whose order or number matters. */
  readonly given: readonly { readonly name: string; readonly value: unknown }[]
  /** The words that are not options. */
  readonly operands: readonly string[]
  /** All words after the command's name, in the order getopt leaves them. */
  readonly words: readonly string[]
  /** The open image's top node. Only commands with `needsImage` ask. */
  readonly node: BlockNode
  /** Writes to standard output; the text brings its newline. */
  print(text: string): void
}

/** A command of the table. */
export interface Command<O extends OptionKinds = OptionKinds> {
  readonly name: string
  readonly alias?: string
  /** What follows the name in `help` and in usage lines. */
  readonly usage?: string
  /** One line for `help`. */
  readonly summary: string
  /** More lines for `help NAME`. */
  readonly details?: readonly string[]
  /** False: works with no image open. */
  readonly needsImage: boolean
  /** Needs a writable image, which is checked before anything else of the command. */
  readonly writes?: boolean
  /** How many words may follow the name, options included; `max` undefined: any number. */
  readonly words: { readonly min: number; readonly max?: number }
  /** Absent: the words are taken as they are, and nothing is an option. */
  readonly options?: O
  /** With options: how many words must remain as operands, else the usage line is shown. */
  readonly operands?: { readonly min: number; readonly max?: number }
  run(call: Call<O>): Promise<Outcome>
}

/** A command of any options, as the table holds it. */
// biome-ignore lint/suspicious/noExplicitAny: the table holds commands of any options
export type AnyCommand = Command<any>

/** Types a command by its own option table; returns it unchanged. */
export const defineCommand = <const O extends OptionKinds>(command: Command<O>): Command<O> => command

/** The line that says how a command is used. */
export const usageLine = (command: AnyCommand, name = command.name): string =>
  `${name} ${command.usage === undefined ? '' : `${command.usage} `}-- ${command.summary}\n`
