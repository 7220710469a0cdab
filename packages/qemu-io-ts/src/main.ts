/** The program as a function: command line in, exit status out. */
import { expects, messageOf, type OpenEnvironment } from '@vmblock/block-core'
import {
  type DriverSurroundings,
  defineObject,
  Mistake,
  type Secrets,
  type TextOutput,
  versionText,
  warnOfTrace,
} from '@vmblock/cli'
import { COMMANDS } from './commands/index.ts'
import { programLine, usageText } from './program-options.ts'
import { Stop } from './session/command.ts'
import { DEFAULT_MODES, MODE_OPTIONS, type ModeChange, openImage, readOptions } from './session/image.ts'
import type { Image } from './session/services.ts'
import { Session, type SessionServices } from './session/session.ts'

/** The source of commands if there are none on the command line. */
export interface CommandInput {
  /**
   * Shows the prompt and reads the next line, without its newline; undefined at the end of input.
   *
   * @param complete returns the commands that begin with the typed text, for terminals
   */
  nextLine(prompt: string, complete: (typed: string) => readonly string[]): Promise<string | undefined>
}

/** The program's streams. */
export interface Streams {
  readonly output: TextOutput
  readonly input: CommandInput
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

const requireWords = expects(
  'a list of words',
  (value) => Array.isArray(value) && value.every((word) => typeof word === 'string'),
)

/**
 * Runs the program.
 *
 * @param argv the arguments, without the program's name
 * @returns the exit status: 0 if everything succeeded, 1 if anything failed, 128 + N for death by signal N
 */
export async function main(argv: readonly string[], streams: Streams, services: Services): Promise<number> {
  requireWords(argv, 'argv')
  const { output } = streams
  try {
    return await run(argv, streams, services)
  } catch (error) {
    if (error instanceof EarlyExit) return error.status
    if (error instanceof Mistake) output.error(`qemu-io: ${error.message}\n`)
    else if (error instanceof Stop) output.error(`qemu-io: ${error.message}`)
    else throw error
    return 1
  } finally {
    output.flush()
  }
}

async function run(argv: readonly string[], streams: Streams, services: Services): Promise<number> {
  const { output } = streams
  const environment = services.environment({
    print: (line) => output.print(`${line}\n`),
    warn: (line) => output.error(`${line}\n`),
    readText: async (path) =>
      new TextDecoder().decode(await services.readFile(path, Number.MAX_SAFE_INTEGER)),
  })
  const secrets: Secrets = new Map()
  const request = await readCommandLine(argv, output, services, secrets)
  const { imageOptions, misalign } = request
  const sessionServices = { ...services, environment }
  const session = new Session(COMMANDS, output, sessionServices, { imageOptions, misalign })
  const image = await openFirst(session, request)
  if (image) session.attach(image)

  const failed = await commandLoop(session, request.commands, streams)
  if (session.ending?.kind === 'signal') return 128 + session.ending.signal
  return (await shutDown(session)) && !failed ? 0 : 1
}

/** Reads the command line from left to right; the first mistake is reported. */
async function readCommandLine(
  argv: readonly string[],
  output: TextOutput,
  services: Services,
  secrets: Secrets,
): Promise<Request> {
  const line = programLine(argv)
  const usage = (status: number): never => {
    output.print(usageText(services.formats))
    throw new EarlyExit(status)
  }
  const request = {
    commands: [] as string[],
    changes: [] as ModeChange[],
    format: undefined as string | undefined,
  }
  let [imageOptions, misalign] = [false, false]
  for (const step of line) {
    if (step.kind !== 'option') {
      output.error(`qemu-io: ${step.message}\n`)
      return usage(1)
    }
    const { option, value = '' } = step
    const name = option.short ?? option.long
    if (name === 'h') usage(0)
    else if (name === 'V') {
      output.print(versionText('qemu-io-ts'))
      throw new EarlyExit(0)
    } else if (name === 'c') request.commands.push(value)
    else if (name === 'f') request.format = value
    else if (name === 'm') misalign = true
    else if (name === 'image-opts') imageOptions = true
    else if (name === 'T') warnOfTrace(value, (text) => output.error(`qemu-io: warning: ${text}\n`))
    else if (name === 'object')
      await defineObject(secrets, value, (path) => services.readFile(path, Number.MAX_SAFE_INTEGER))
    else request.changes.push(modeChange(name, value))
  }
  const { operands } = line
  if (operands.length > 1) usage(1)
  if (request.format !== undefined && imageOptions)
    throw new Stop('--image-opts and -f are mutually exclusive\n', 'error')
  return { ...request, file: operands[0], imageOptions, misalign }
}

function modeChange(letter: string, value: string): ModeChange {
  const kind = MODE_OPTIONS[letter as keyof typeof MODE_OPTIONS]
  return kind.parse(value, undefined as never)
}

/** Opens the image of the command line, if it names one. @throws Stop */
async function openFirst(session: Session, request: Request): Promise<Image | undefined> {
  const { file, format, imageOptions, changes } = request
  if (file === undefined) return undefined
  const modes = changes.reduce((current, apply) => apply(current), DEFAULT_MODES)
  if (imageOptions) {
    const options = readOptions(file, (text) => session.complain(text))
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
  let failed = false
  for (const command of commands) {
    if (session.ending) break
    if ((await session.run(command)) === 'failed') failed = true
  }
  if (commands.length > 0) return failed
  const complete = (typed: string): readonly string[] =>
    session.commands.map(({ name }) => name).filter((name) => name.startsWith(typed))
  while (!session.ending) {
    session.flush()
    const line = await session.wait(input.nextLine(PROMPT, complete))
    if (line === undefined) break
    if ((await session.run(line)) === 'failed') failed = true
  }
  return failed
}

/** Waits for the requests in flight and closes the image. @returns whether that succeeded */
async function shutDown(session: Session): Promise<boolean> {
  try {
    await session.close()
    return true
  } catch (error) {
    session.error(messageOf(error))
    return false
  }
}
