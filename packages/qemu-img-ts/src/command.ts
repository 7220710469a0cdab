/**
 * What a subcommand is: data. One parser reads every command line by these tables, and the help is written
 * from them, so no subcommand parses anything itself.
 */
import { BlockError, type DriverRegistry, type OpenEnvironment, type OpenHost } from '@vmblock/block-core'
import { defineObject, Getopt, type Secrets } from '@vmblock/cli'
import { Failure, type Output, usageFailure } from './output.ts'

/** What the program needs of its surroundings. */
export interface Services {
  readonly registry: DriverRegistry
  readonly host: OpenHost
  /** Content of a file of the user. Without it secrets cannot be read from files. @throws an error with a POSIX `code` */
  readonly readFile?: (filename: string) => Promise<Uint8Array>
  /** The name of a file without links and dots; undefined if there is none. Without it names are compared as they are. */
  readonly realPath?: (filename: string) => Promise<string | undefined>
  /** Calls `listener` whenever somebody asks how far the program is (SIGUSR1). @returns what ends that */
  readonly onProgressRequest?: (listener: () => void) => () => void
  /**
   * Calls `listener` when somebody wants the program to end (SIGINT, SIGTERM); what it works on can then be left in
   * order. Without it the program ends where it is. @returns what ends that
   */
  readonly onInterrupt?: (listener: () => void) => () => void
}

/** How one option is read. */
export interface OptionKind<T> {
  readonly short?: string | undefined
  readonly long?: string | undefined
  /** What the usage line calls the value; undefined for an option that takes none. */
  readonly argument?: string | undefined
  /**
   * @param before what an earlier use of the same option gave
   * @throws Failure
   */
  read(text: string, before: T | undefined, output: Output): T
}

/** Options by a name for the program. */
// biome-ignore lint/suspicious/noExplicitAny: a table holds options of any type
export type OptionKinds = Readonly<Record<string, OptionKind<any>>>

/** The options that were given. */
export type OptionsOf<O extends OptionKinds> = {
  readonly [K in keyof O]: (O[K] extends OptionKind<infer T> ? T : never) | undefined
}

/** One use of a subcommand. */
export interface Call<O extends OptionKinds = OptionKinds> {
  readonly options: OptionsOf<O>
  readonly operands: readonly string[]
  readonly output: Output
  readonly services: Services
  /** For opening nodes; its warnings go to the output. */
  readonly environment: OpenEnvironment
}

/** A subcommand. */
export interface Command<O extends OptionKinds = OptionKinds> {
  readonly name: string
  /** One line for the help. */
  readonly summary: string
  readonly options: O
  /** What follows the options, for the usage line. */
  readonly operands: string
  /** The last word is an operand even if it begins with a dash (a size like `-1G`). */
  readonly lastIsOperand?: boolean
  /** @returns the exit status. @throws Failure, BlockError */
  run(call: Call<O>): Promise<number>
}

/** A subcommand of any options, as the list holds it. */
// biome-ignore lint/suspicious/noExplicitAny: the list holds commands of any options
export type AnyCommand = Command<any>

/** Types a subcommand by its own option table; returns it unchanged. */
export const defineCommand = <const O extends OptionKinds>(command: Command<O>): Command<O> => command

/** How an option is written. */
interface Spelling {
  readonly short?: string
  readonly long?: string
}

/** An option without a value. */
export const flag = (spelling: Spelling): OptionKind<true> => ({ ...spelling, read: () => true })

/** An option with a text; the last one counts. */
export const word = (argument: string, spelling: Spelling): OptionKind<string> => ({
  ...spelling,
  argument,
  read: (text) => text,
})

/** Options that several subcommands share. */
export const shared = {
  format: word('fmt', { short: 'f', long: 'format' }),
  /** Subcommands of QEMU that have no `--format`. */
  shortFormat: word('fmt', { short: 'f' }),
  imageOpts: flag({ long: 'image-opts' }),
  forceShare: flag({ short: 'U', long: 'force-share' }),
  quiet: flag({ short: 'q' }),
  progress: flag({ short: 'p' }),
  output: word('ofmt', { long: 'output' }),
} as const

/** Reads `--output`. @throws Failure */
export function isJson(output: string | undefined): boolean {
  if (output === undefined || output === 'human') return false
  if (output === 'json') return true
  throw new Failure('--output must be used with human or json as argument.')
}

/** What a command line says. */
export type ParsedCommand =
  | { readonly kind: 'help' }
  | {
      readonly kind: 'run'
      readonly options: Readonly<Record<string, unknown>>
      readonly operands: readonly string[]
    }

/**
 * Reads the words behind a subcommand's name.
 *
 * @throws Failure or Mistake in QEMU's words, at the first mistake
 */
export async function parseCommand(
  command: AnyCommand,
  words: readonly string[],
  output: Output,
  { readFile = noFiles }: Pick<Services, 'readFile'>,
): Promise<ParsedCommand> {
  const last = command.lastIsOperand ? words.slice(-1) : []
  const kinds = command.options as OptionKinds
  const grammar = [
    { key: 'help', short: 'h', long: 'help', takesValue: false },
    { key: 'object', short: undefined, long: 'object', takesValue: true },
    ...Object.entries(kinds).map(([key, { short, long, argument }]) => ({
      key,
      short,
      long,
      takesValue: argument !== undefined,
    })),
  ]
  const parser = new Getopt([command.name, ...words.slice(0, words.length - last.length)], grammar)
  const options: Record<string, unknown> = {}
  const secrets: Secrets = new Map()
  for (const step of parser) {
    if (step.kind === 'missing') throw usageFailure(`missing argument for option '${step.word}'`)
    if (step.kind === 'unknown') throw usageFailure(`unrecognized option '${step.word}'`)
    const { key } = step.option
    if (key === 'help') return { kind: 'help' }
    if (key === 'object') await defineObject(secrets, step.value ?? '', readFile)
    else options[key] = kinds[key]!.read(step.value ?? '', options[key], output)
  }
  return { kind: 'run', options, operands: [...parser.operands, ...last] }
}

const noFiles = (): Promise<never> => Promise.reject(new BlockError('ENOTSUP', 'files cannot be read here'))

/** The line of the help that says how a subcommand is used. */
export function usageLine(command: AnyCommand): string {
  const options = Object.values(command.options as OptionKinds).map(({ short, long, argument }) => {
    if (short !== undefined) return argument === undefined ? `[-${short}]` : `[-${short} ${argument}]`
    return argument === undefined ? `[--${long}]` : `[--${long}=${argument}]`
  })
  return [command.name, ...options, command.operands].join(' ')
}
