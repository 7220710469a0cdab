/** The program as a function: command line in, exit status out. */
import type { CheckReport, OpenEnvironment } from '@vmblock/block-core'
import { throttleGroupsOf } from '@vmblock/block-core/filters'
import {
  answerFrom,
  CommandLine,
  completionScript,
  type DriverSurroundings,
  defineObject,
  Failure,
  type ObjectStore,
  Output,
  readOptionTree,
  requireWords,
  type Secrets,
  type TextOutput,
  versionText,
  warnOfTrace,
} from '@vmblock/cli'
import { COMMANDS } from './commands/index.ts'
import { PROGRAM_OPTIONS, programTable, usageText } from './program-options.ts'
import { type Completion, completeLine } from './session/complete.ts'
import { DEFAULT_MODES, MODE_OPTIONS, type ModeChange, openImage } from './session/image.ts'
import { Interpreter } from './session/interpreter.ts'
import { repairText } from './session/report.ts'
import type { Image } from './session/services.ts'
import { Session, type SessionServices } from './session/session.ts'

/** The source of commands if there are none on the command line. */
export interface CommandInput {
  /**
   * Shows the prompt and reads the next line, without its newline; undefined at the end of input.
   *
   * @param complete completes the last word of what is typed, for terminals
   */
  nextLine(prompt: string, complete: (line: string) => Completion): Promise<string | undefined>
  /**
   * Calls `listener` for each Ctrl-C until the returned function is called: then a command can be interrupted. Absent: the
   * program dies of it.
   */
  onInterrupt?(listener: () => void): () => void
}

/** The program's streams. */
export interface Streams {
  readonly output: TextOutput
  readonly input: CommandInput
  /** Whether the user watches: then what QEMU leaves unsaid is said, too. */
  readonly isWatched?: boolean
}

/** The services that the program needs. */
export interface Services extends Omit<SessionServices, 'environment'> {
  /** Makes the drivers of one run. */
  environment(surroundings: DriverSurroundings): OpenEnvironment
  /** Names of formats and protocols, for `--help`. */
  readonly formats: readonly string[]
}

const PROMPT = 'qemu-io> '

/** The parsed command line. */
interface Request {
  readonly commands: readonly string[]
  readonly file: string | undefined
  readonly format: string | undefined
  readonly imageOptions: boolean
  readonly misalign: boolean
  readonly changes: readonly ModeChange[]
}

/** Ends the program before it opens an image. */
class EarlyExit extends Error {
  readonly status: number

  constructor(status: number) {
    super()
    this.status = status
  }
}

/**
 * Runs the program.
 *
 * @param argv the arguments, without the program's name
 * @returns the exit status: 0 if everything succeeded, 1 if anything failed, 128 + N for death by signal N
 * @throws BlockError EINVAL for arguments that are no words
 */
export async function main(argv: readonly string[], streams: Streams, services: Services): Promise<number> {
  requireWords(argv, 'argv')
  const { output } = streams
  try {
    return await run(argv, streams, services)
  } catch (error) {
    if (error instanceof EarlyExit) return error.status
    if (error instanceof Failure) return new Output('qemu-io', output).fail(error)
    throw error
  } finally {
    output.flush()
  }
}

async function run(argv: readonly string[], streams: Streams, services: Services): Promise<number> {
  const { output, isWatched = false } = streams
  const secrets: Secrets = new Map()
  let stop: (() => void) | undefined
  const drivers = services.environment({
    print: (line) => output.print(`${line}\n`),
    warn: (line) => output.error(`${line}\n`),
    readText: async (path) =>
      new TextDecoder().decode(await services.readFile(path, Number.MAX_SAFE_INTEGER)),
    onMismatch(line) {
      output.error(`${line}\n`)
      stop?.()
    },
  })
  const onRepair = (report: CheckReport): void => output.print(repairText(report))
  const environment = { ...drivers, secret: answerFrom(secrets), ...(isWatched && { onRepair }) }
  const store = {
    secrets,
    groups: throttleGroupsOf(drivers.registry.find('throttle')),
    readFile: (path: string) => services.readFile(path, Number.MAX_SAFE_INTEGER),
  }
  const request = await readCommandLine(argv, new Output('qemu-io', output), services, store)
  const { imageOptions, misalign } = request
  const interruptible = streams.input.onInterrupt !== undefined && request.commands.length === 0
  const settings = { imageOptions, misalign, interruptible }
  const session = new Session(output, { ...services, environment }, settings)
  stop = () => session.end({ kind: 'failure' })
  const image = await openFirst(session, request)
  if (image) session.attach(image)

  const failed = await commandLoop(session, request.commands, streams)
  if (session.ending?.kind === 'signal') return 128 + session.ending.signal
  if (session.ending?.kind === 'failure') {
    // QEMU exits on the spot: nothing is flushed or closed.
    await session.image?.crash()
    return 1
  }
  return (await shutDown(session)) && !failed ? 0 : 1
}

/** Reads the command line from left to right; the first mistake is reported. */
async function readCommandLine(
  argv: readonly string[],
  output: Output,
  services: Services,
  store: ObjectStore,
): Promise<Request> {
  const usage = (status: number): EarlyExit => {
    output.print(usageText(services.formats))
    return new EarlyExit(status)
  }
  const line = new CommandLine(['qemu-io', ...argv], PROGRAM_OPTIONS, {
    warn: output.warn,
    mistake({ message }) {
      output.error(message)
      return usage(1)
    },
  })
  const commands: string[] = []
  const changes: ModeChange[] = []
  for (const { name, value } of line) {
    if (name === 'help') throw usage(0)
    if (name === 'version') {
      output.print(versionText('qemu-io-ts'))
      throw new EarlyExit(0)
    }
    if (name === 'completion') {
      output.print(completionScript(value as string, programTable(services.formats)))
      throw new EarlyExit(0)
    }
    if (name === 'cmd') commands.push(value as string)
    else if (name === 'trace') warnOfTrace(value as string, output.warn)
    else if (name === 'object') await defineObject(store, value as string)
    else if (name in MODE_OPTIONS) changes.push(value as ModeChange)
  }
  const { options, operands } = line
  const { format, imageOpts: imageOptions = false, misalign = false } = options
  if (operands.length > 1) throw usage(1)
  if (format !== undefined && imageOptions) throw new Failure('--image-opts and -f are mutually exclusive')
  return { commands, changes, format, file: operands[0], imageOptions, misalign }
}

/** Opens the image of the command line, if it names one. @throws Failure */
async function openFirst(session: Session, request: Request): Promise<Image | undefined> {
  const { file, format, imageOptions, changes } = request
  if (file === undefined) return undefined
  const modes = changes.reduce((current, apply) => apply(current), DEFAULT_MODES)
  if (imageOptions) {
    const options = readOptionTree(file, session.output.warn)
    return openImage(session.services, { filename: undefined, options, modes })
  }
  const options = format === undefined ? undefined : { driver: format }
  return openImage(session.services, { filename: file, options, modes })
}

/** Runs all commands. @returns whether one failed */
async function commandLoop(
  session: Session,
  commands: readonly string[],
  { input }: Streams,
): Promise<boolean> {
  const interpreter = new Interpreter(COMMANDS, session)
  let failed = false
  for (const command of commands) {
    if (session.ending) break
    if ((await interpreter.run(command)) === 'failed') failed = true
  }
  if (commands.length > 0) return failed
  const { listDirectory = () => [] } = session.services
  const { commands: all } = interpreter
  const complete = (line: string): Completion => completeLine(line, { commands: all, listDirectory })
  while (!session.ending) {
    session.output.flush()
    const line = await session.wait(input.nextLine(PROMPT, complete))
    if (line === undefined) break
    const stop = input.onInterrupt?.(() => session.interrupt())
    try {
      if ((await interpreter.run(line)) === 'failed') failed = true
    } finally {
      stop?.()
      session.takeInterruption()
    }
  }
  return failed
}

/** Waits for the requests in flight and closes the image. @returns whether that succeeded */
async function shutDown(session: Session): Promise<boolean> {
  try {
    await session.close()
    return true
  } catch (error) {
    session.output.explain(error)
    return false
  }
}
