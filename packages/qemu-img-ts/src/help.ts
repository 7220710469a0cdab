/** The texts of `--help`: of the program, and of each subcommand, from their tables. */
import { commandText, explained, optionTerms, type ProgramTable, sentence } from '@vmblock/cli'
import { commands } from './commands/index.ts'
import { type AnyCommand, type Services, STANDARD_OPTIONS, wholeTable } from './kit/command.ts'

/** The name by which helps call the program; its messages say `qemu-img`, which scripts compare. */
export const PROGRAM = 'qemu-img-ts'

/** What the helps of all commands have in common, by the words that stand for it there. */
export const PARAMETERS: readonly (readonly [term: string, help: string])[] = [
  [
    'image',
    'a path, a name with a protocol (blkdebug:rules:path) or json:{...}; with --image-opts it is a list of options (driver=qcow2,file.filename=path)',
  ],
  ['size', 'bytes, or larger units with one of the suffixes k, M, G, T, P and E (powers of 1024)'],
]

/** The help of a subcommand. */
export const commandHelp = (command: AnyCommand): string => commandText(PROGRAM, wholeTable(command))

/** The tables of the program. */
export async function programTable({ registry }: Pick<Services, 'registry'>): Promise<ProgramTable> {
  const all = await Promise.all(Object.values(commands).map((load) => load()))
  return {
    name: PROGRAM,
    summary: "make, inspect and change disk images, as QEMU's qemu-img does",
    options: STANDARD_OPTIONS,
    operands: 'command [command options]',
    example: 'create -f qcow2 disk.qcow2 20G',
    commands: all.map(wholeTable),
    formats: [...registry].filter(({ kind }) => kind === 'format').map(({ name }) => name),
  }
}

/** The help of the program; scripts read the last line, which lists all drivers. */
export async function helpText(services: Pick<Services, 'registry'>): Promise<string> {
  const { name, summary, options, operands, example, commands } = await programTable(services)
  const drivers = [...services.registry].map((driver) => driver.name).sort()
  return [
    `Usage: ${name} [standard options] ${operands}\n${sentence(summary)}\n`,
    `\nStandard options:\n${explained(optionTerms(options))}`,
    `\nCommands; '${name} COMMAND --help' explains one and its options:\n`,
    explained(
      commands.map((command) => [command.name, command.summary]),
      14,
    ),
    `\nWhat commands work on:\n${explained(PARAMETERS, 14)}`,
    `\nExample:\n  ${name} ${example}\n`,
    `\nSupported formats: ${drivers.join(' ')}\n`,
  ].join('')
}
