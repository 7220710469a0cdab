/** The program: options before a subcommand, the subcommand, and the handling of its failure. */
import { expects } from '@vmblock/block-core'
import { Getopt, versionText, warnOfTrace } from '@vmblock/cli'
import { commands, missingCommands } from './commands/index.ts'
import { type AnyCommand, parseCommand, type Services } from './kit/command.ts'
import { Failure, Output, type Streams, usageFailure } from './kit/output.ts'

const OPTIONS = [
  { key: 'help', short: 'h', long: 'help', takesValue: false },
  { key: 'version', short: 'V', long: 'version', takesValue: false },
  { key: 'trace', short: 'T', long: 'trace', takesValue: true },
] as const

const requireWords = expects(
  'a list of words',
  (value) => Array.isArray(value) && value.every((word) => typeof word === 'string'),
)

/**
 * Runs the program.
 *
 * @param argv the words after the program's name
 * @returns the exit status
 */
export async function main(argv: readonly string[], streams: Streams, services: Services): Promise<number> {
  requireWords(argv, 'argv')
  const output = new Output(streams)
  try {
    return await dispatch(argv, output, services)
  } catch (error) {
    return output.fail(error)
  } finally {
    streams.flush()
  }
}

async function dispatch(argv: readonly string[], output: Output, services: Services): Promise<number> {
  if (argv.length === 0) throw usageFailure('Not enough arguments')
  const parser = new Getopt(['qemu-img', ...argv], OPTIONS, true)
  for (const step of parser) {
    if (step.kind === 'missing') throw usageFailure(`missing argument for option '${step.word}'`)
    if (step.kind === 'unknown') throw usageFailure(`unrecognized option '${step.word}'`)
    if (step.option.key === 'help') return printHelp(output, services)
    if (step.option.key === 'version') {
      output.print(versionText('qemu-img-ts'))
      return 0
    }
    warnOfTrace(step.value ?? '', (line) => output.warn(line))
  }
  const [name, ...words] = parser.operands
  if (name === undefined) return 0
  const load = Object.hasOwn(commands, name) ? commands[name] : undefined
  if (load) return runCommand(await load(), words, output, services)
  if (missingCommands.has(name)) throw new Failure(`command '${name}' is not available yet`)
  throw usageFailure(`Command not found: ${name}`)
}

async function runCommand(
  command: AnyCommand,
  words: readonly string[],
  output: Output,
  services: Services,
): Promise<number> {
  const parsed = await parseCommand(command, words, output, services)
  if (parsed.kind === 'help') return printHelp(output, services)
  const { registry, host } = services
  const environment = { registry, host, onWarn: (line: string) => output.relay(line) }
  return command.run({ options: parsed.options, operands: parsed.operands, output, services, environment })
}

async function printHelp(output: Output, { registry }: Services): Promise<number> {
  const { helpText } = await import('./help.ts')
  output.print(await helpText([...registry].map((driver) => driver.name)))
  return 0
}
