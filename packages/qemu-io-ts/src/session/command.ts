/**
 * Commands as data. The interpreter reads a command's words by its tables, so no command parses its options
 * itself, and help and completion come from the same tables.
 */
import type { Disk } from '@vmblock/block-core'
import {
  type CommandTable,
  type Given,
  type OptionKinds,
  type OptionsOf,
  usageLine,
  type Warn,
} from '@vmblock/cli'
import type { Session } from './session.ts'

/** Whether a command succeeded; a failed one makes the program's exit status 1. */
export type Outcome = 'ok' | 'failed'

/** Ends a command early with a text on standard output, which brings its newline. A `Failure` goes to standard error. */
export class Stop extends Error {
  override readonly name = 'Stop'
  readonly outcome: Outcome

  constructor(text: string, outcome: Outcome = 'failed') {
    super(text)
    this.outcome = outcome
  }
}

/** Ends a command with its usage line: an option or the number of operands is wrong. */
export class UsageMistake extends Error {
  override readonly name = 'UsageMistake'
}

/** One use of a command. */
export interface Call<O extends OptionKinds = OptionKinds> {
  readonly session: Session
  /** All commands, by name. */
  readonly commands: readonly AnyCommand[]
  readonly options: OptionsOf<O>
  /** The options as given, in order, for those whose order or number matters. */
  readonly given: readonly Given[]
  /** The words that are not options. */
  readonly operands: readonly string[]
  /** All words after the command's name, in the order in which getopt leaves them. */
  readonly words: readonly string[]
  /** The open image. Only for commands with `needsImage`. */
  readonly node: Disk
  /** Writes to standard output; the text brings its newline. */
  print(text: string): void
  readonly warn: Warn
}

/** A number of words; `max` undefined: any number. */
export interface Count {
  readonly min: number
  readonly max?: number
}

/** A command of the table. */
export interface Command<O extends OptionKinds = OptionKinds> extends CommandTable<O> {
  readonly alias?: string
  /** Another word for it, which QEMU does not have. */
  readonly longAlias?: string
  /** What its operands are, for completion. */
  readonly operandsAre?: 'commands' | 'files'
  /** Whether an image must be open. */
  readonly needsImage: boolean
  /** Whether the image must be writable; checked before anything else of the command. */
  readonly writes?: boolean
  /** Number of words after the name, options included. */
  readonly wordCount: Count
  /** With options: number of words that must remain as operands; otherwise the usage line is shown. */
  readonly operandCount?: Count
  /** Without `options`, the words are passed unchanged, and none is an option. */
  run(call: Call<O>): Promise<Outcome>
}

/** A command with any options, for tables of commands. */
// biome-ignore lint/suspicious/noExplicitAny: the table holds commands of any options
export type AnyCommand = Command<any>

/** Infers the type of a command from its option table; returns it unchanged. */
export const defineCommand = <const O extends OptionKinds>(command: Command<O>): Command<O> => command

/** The line of a command in the help. */
export const commandHelp = (command: AnyCommand, name?: string): string =>
  `${usageLine(command, name)} -- ${command.summary}\n`
