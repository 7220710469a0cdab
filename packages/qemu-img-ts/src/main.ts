/** The program: options before a subcommand, the subcommand, and the handling of its failure. */
import {
  answerFrom,
  CommandLine,
  OpenImages,
  Output,
  type ProgramTable,
  requireWords,
  statusOf,
  type TextOutput,
  usageFailure,
  versionText,
  warnOfTrace,
} from '@vmblock/cli'
import { commands } from './commands/index.ts'
import { type AnyCommand, parseCommand, readingTo, type Services, STANDARD_OPTIONS } from './kit/command.ts'

/**
 * Runs the program.
 *
 * @param argv the words after the program's name
 * @returns the exit status
 */
export async function main(argv: readonly string[], stream: TextOutput, services: Services): Promise<number> {
  requireWords(argv, 'argv')
  const output = new Output('qemu-img', stream)
  try {
    return await dispatch(argv, output, services)
  } catch (error) {
    return output.fail(error)
  } finally {
    output.flush()
  }
}

async function dispatch(argv: readonly string[], output: Output, services: Services): Promise<number> {
  if (argv.length === 0) throw usageFailure('Not enough arguments')
  const line = new CommandLine(['qemu-img', ...argv], STANDARD_OPTIONS, {
    ...readingTo(output),
    inOrder: true,
  })
  for (const { name, value } of line) {
    if (name === 'help') return printHelp(output, services)
    if (name === 'version') {
      output.print(versionText('qemu-img-ts'))
      return 0
    }
    warnOfTrace(value as string, output.warn)
  }
  const [name, ...words] = line.operands
  if (name === undefined) return 0
  const load = Object.hasOwn(commands, name) ? commands[name] : undefined
  if (load) return runCommand(await load(), words, output, services)
  throw usageFailure(`Command not found: ${name}`)
}

async function runCommand(
  command: AnyCommand,
  words: readonly string[],
  output: Output,
  services: Services,
): Promise<number> {
  const parsed = await parseCommand(command, words, output, services)
  if (!parsed) {
    const { commandHelp } = await import('./help.ts')
    output.print(commandHelp(command))
    return 0
  }
  const { registry, host } = services
  const { secrets, ...given } = parsed
  const onWarn = (line: string): void => output.relay(line)
  const environment = { registry, host, onWarn, secret: answerFrom(secrets) }
  const images = new OpenImages(output)
  const actions: (() => void)[] = []
  const atEnd = (action: () => void): void => void actions.push(action)
  try {
    const program = async (): Promise<ProgramTable> => (await import('./help.ts')).programTable(services)
    const status = await command.run({ ...given, output, services, environment, images, program, atEnd })
    return await images.close(status)
  } catch (error) {
    await images.close(statusOf(error))
    return output.fail(error)
  } finally {
    for (const action of actions) action()
  }
}

async function printHelp(output: Output, services: Services): Promise<number> {
  const { helpText } = await import('./help.ts')
  output.print(await helpText(services))
  return 0
}
