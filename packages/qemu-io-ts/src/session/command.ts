/**
 * Commands as data. The dispatcher reads a command's words by its tables, so no command parses its options
 * itself, and help and completion come from the same tables.
 */
import type { BlockNode } from '@vmblock/block-core'
import type { Session } from './session.ts'

/** Whether a command succeeded; a failed one makes the program's exit status 1. */
export type Outcome = 'ok' | 'failed'

/** Ends a command early with a text: thrown by parsers and commands, caught by the dispatcher. */
export class Stop extends Error {
  override readonly name = 'Stop'
  /** `error` also prefixes the text with the program's name. */
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

/** The definition of one option of a command. */
export interface OptionKind<T> {
  readonly takesValue: boolean
  /** @throws Stop */
  parse(text: string, session: Session): T
}

/** Options by letter. */
// biome-ignore lint/suspicious/noExplicitAny: a table holds options of any type
export type OptionKinds = Readonly<Record<string, OptionKind<any>>>

/** The given options, each with its last value. */
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
  /** All words after the command's name, in the order in which getopt leaves them. */
  readonly words: readonly string[]
  /** The open image's top node. Only for commands with `needsImage`. */
  readonly node: BlockNode
  /** Writes to standard output; the text brings its newline. */
  print(text: string): void
}

/** A command of the table. */
export interface Command<O extends OptionKinds = OptionKinds> {
  readonly name: string
  readonly alias?: string
  /** The words after the name in `help` and in usage lines. */
  readonly usage?: string
  /** One line for `help`. */
  readonly summary: string
  /** More lines for `help NAME`. */
  readonly details?: readonly string[]
  /** Whether an image must be open. */
  readonly needsImage: boolean
  /** Whether the image must be writable; checked before anything else of the command. */
  readonly writes?: boolean
  /** Number of words after the name, options included; `max` undefined: any number. */
  readonly words: { readonly min: number; readonly max?: number }
  /** Absent: the words are passed unchanged, and none is an option. */
  readonly options?: O
  /** With options: number of words that must remain as operands; otherwise the usage line is shown. */
  readonly operands?: { readonly min: number; readonly max?: number }
  run(call: Call<O>): Promise<Outcome>
}

/** A command with any options, for tables of commands. */
// biome-ignore lint/suspicious/noExplicitAny: the table holds commands of any options
export type AnyCommand = Command<any>

/** Infers the type of a command from its option table; returns it unchanged. */
export const defineCommand = <const O extends OptionKinds>(command: Command<O>): Command<O> => command

/** The usage line of a command. */
export const usageLine = (command: AnyCommand, name = command.name): string =>
  `${name} ${command.usage === undefined ? '' : `${command.usage} `}-- ${command.summary}\n`
