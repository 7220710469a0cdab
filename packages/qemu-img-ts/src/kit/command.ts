/** Subcommands as data: one parser reads every command line by their tables, and the help is made from them. */
import {
  BlockError,
  type DriverRegistry,
  type ImageResolver,
  type OpenEnvironment,
} from '@vmblock/block-core'
import { throttleGroupsOf } from '@vmblock/block-core/filters'
import {
  CommandLine,
  type CommandTable,
  defineObject,
  flag,
  type OpenImages,
  type OptionKinds,
  type OptionsOf,
  type Output,
  type ProgramTable,
  type Reading,
  type Secrets,
  usageFailure,
  word,
} from '@vmblock/cli'

import type { BarTerminal } from './progress-bar.ts'

/** The services that the program needs. */
export interface Services {
  readonly registry: DriverRegistry
  readonly host: ImageResolver
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
  /** The terminal for bars. If absent, progress is text. */
  readonly barTerminal?: BarTerminal
}

/** One use of a subcommand. */
export interface Call<O extends OptionKinds = OptionKinds> {
  readonly options: OptionsOf<O>
  readonly operands: readonly string[]
  readonly output: Output
  readonly services: Services
  /** The environment for opening nodes; its warnings go to the output. */
  readonly environment: OpenEnvironment
  /** The images that the subcommand has open: closed when it has ended. */
  readonly images: OpenImages
  /** The tables of the whole program. */
  program(): Promise<ProgramTable>
  /** Lets `action` run at the end of the call, once images are closed and a failure is printed. */
  atEnd(action: () => void): void
}

/** A subcommand. */
export interface Command<O extends OptionKinds = OptionKinds> extends CommandTable<O> {
  readonly options: O
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

/** How the program reads command lines: mistakes in QEMU's words, which name the word. */
export const readingTo = ({ warn }: Output): Reading => ({
  warn,
  mistake: ({ kind, word }) =>
    usageFailure(
      kind === 'missing' ? `missing argument for option '${word}'` : `unrecognized option '${word}'`,
    ),
})

/** The last word where it would be an operand otherwise. */
const ASKS_FOR_HELP = /^(?:-h|--h(?:e(?:lp?)?)?)$/

/** Options before the name of a subcommand. */
export const STANDARD_OPTIONS = {
  help: flag({ short: 'h', long: 'help', help: 'print this text and exit' }),
  version: flag({ short: 'V', long: 'version', help: 'print which program this is and exit' }),
  trace: word('pattern', { short: 'T', long: 'trace', help: 'trace events; this program has none' }),
}

/** Options that every subcommand has besides those of its table. */
export const COMMON_OPTIONS = {
  help: flag({ short: 'h', long: 'help', help: 'print this text and exit' }),
  object: word('objectdef', {
    long: 'object',
    help: 'define a secret, for encrypted images: secret,id=NAME,file=PATH or secret,id=NAME,data=TEXT',
  }),
}

/** A subcommand's table with all the options it has, for helps. */
export const wholeTable = (command: AnyCommand): CommandTable => ({
  ...command,
  options: { ...command.options, ...COMMON_OPTIONS },
})

/**
 * Parses the words after a subcommand's name.
 *
 * @returns undefined if the user asks for help
 * @throws Failure in QEMU's words, at the first mistake
 */
export async function parseCommand(
  { name: command, options, lastIsOperand }: AnyCommand,
  words: readonly string[],
  output: Output,
  { readFile = refuseReading, registry }: Pick<Services, 'readFile' | 'registry'>,
): Promise<(Pick<Call, 'options' | 'operands'> & { readonly secrets: Secrets }) | undefined> {
  const last = lastIsOperand ? words.slice(-1).filter((word) => !ASKS_FOR_HELP.test(word)) : []
  const first = words.slice(0, words.length - last.length)
  const line = new CommandLine([command, ...first], { ...COMMON_OPTIONS, ...options }, readingTo(output))
  const secrets: Secrets = new Map()
  const store = { secrets, readFile, groups: throttleGroupsOf(registry.find('throttle')) }
  for (const { name, value } of line) {
    if (name === 'help') return undefined
    if (name === 'object') await defineObject(store, value as string)
  }
  return { options: line.options, operands: [...line.operands, ...last], secrets }
}

const refuseReading = (): Promise<never> =>
  Promise.reject(new BlockError('ENOTSUP', 'files cannot be read here'))
