/**
 * Subcommands as data. One parser reads every command line by their tables, and the usage lines are made from
 * them, so no subcommand parses anything itself.
 */
import { BlockError, type DriverRegistry, type OpenEnvironment, type OpenHost } from '@vmblock/block-core'
import { defineObject, Getopt, type Secrets } from '@vmblock/cli'
import { Failure, type Output, usageFailure } from './output.ts'

/** The services that the program needs. */
export interface Services {
  readonly registry: DriverRegistry
  readonly host: OpenHost
  /** Reads a file of the user. If absent, secrets cannot come from files. @throws with a POSIX `code` */
  readonly readFile?: (filename: string) => Promise<Uint8Array>
  /** Resolves links, `.` and `..`; undefined for a missing file. If absent, names are compared unresolved. */
  readonly realPath?: (filename: string) => Promise<string | undefined>
  /** Calls `listener` whenever progress is requested (SIGUSR1). @returns a function that stops this */
  readonly onProgressRequest?: (listener: () => void) => () => void
  /**
   * Calls `listener` when the program is asked to end (SIGINT, SIGTERM), so that it can leave its images in
   * order. If absent, the program ends at once. @returns a function that stops this
   */
  readonly onInterrupt?: (listener: () => void) => () => void
}

/** The definition of one option. */
export interface OptionKind<T> {
  readonly short?: string | undefined
  readonly long?: string | undefined
  /** The name of the value in the usage line; undefined for an option without value. */
  readonly argument?: string | undefined
  /**
   * @param before the value of an earlier use of the same option
   * @throws Failure
   */
  read(text: string, before: T | undefined, output: Output): T
}

/** Options by the names that the program uses. */
// biome-ignore lint/suspicious/noExplicitAny: a table holds options of any type
export type OptionKinds = Readonly<Record<string, OptionKind<any>>>

/** The values of the options; undefined for those not given. */
export type OptionsOf<O extends OptionKinds> = {
  readonly [K in keyof O]: (O[K] extends OptionKind<infer T> ? T : never) | undefined
}

/** One use of a subcommand. */
export interface Call<O extends OptionKinds = OptionKinds> {
  readonly options: OptionsOf<O>
  readonly operands: readonly string[]
  readonly output: Output
  readonly services: Services
  /** The environment for opening nodes; its warnings go to the output. */
  readonly environment: OpenEnvironment
}

/** A subcommand. */
export interface Command<O extends OptionKinds = OptionKinds> {
  readonly name: string
  /** One line for the help. */
  readonly summary: string
  readonly options: O
  /** The operands, for the usage line. */
  readonly operands: string
  /** Whether the last word is an operand even if it begins with a dash (a size like `-1G`). */
  readonly lastIsOperand?: boolean
  /** @returns the exit status. @throws Failure, BlockError */
  run(call: Call<O>): Promise<number>
}

/** A subcommand with any options, for lists of subcommands. */
// biome-ignore lint/suspicious/noExplicitAny: the list holds commands of any options
export type AnyCommand = Command<any>

/** Infers the type of a subcommand from its option table; returns it unchanged. */
export const defineCommand = <const O extends OptionKinds>(command: Command<O>): Command<O> => command

/** The spellings of an option. */
interface Spelling {
  readonly short?: string
  readonly long?: string
}

/** An option without a value. */
export const flag = (spelling: Spelling): OptionKind<true> => ({ ...spelling, read: () => true })

/** An option with a text value; the last one counts. */
export const word = (argument: string, spelling: Spelling): OptionKind<string> => ({
  ...spelling,
  argument,
  read: (text) => text,
})

/** Options that several subcommands share. */
export const shared = {
  format: word('fmt', { short: 'f', long: 'format' }),
  /** For subcommands that have no `--format` in QEMU. */
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

/** A parsed command line. */
export type ParsedCommand =
  | { readonly kind: 'help' }
  | {
      readonly kind: 'run'
      readonly options: Readonly<Record<string, unknown>>
      readonly operands: readonly string[]
    }

/**
 * Parses the words after a subcommand's name.
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

/** The usage line of a subcommand in the help. */
export function usageLine(command: AnyCommand): string {
  const options = Object.values(command.options as OptionKinds).map(({ short, long, argument }) => {
    if (short !== undefined) return argument === undefined ? `[-${short}]` : `[-${short} ${argument}]`
    return argument === undefined ? `[--${long}]` : `[--${long}=${argument}]`
  })
  return [command.name, ...options, command.operands].join(' ')
}
