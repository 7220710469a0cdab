/**
 * A qemu-io session: the open image, the requests in flight, and the execution of one line. It uses no
 * process and no terminal, so other programs and tests can run it in their own process.
 */
import { type BlockNode, errorText, messageOf } from '@vmblock/block-core'
import { Getopt, type GetoptOption, type TextOutput } from '@vmblock/cli'
import {
  type AnyCommand,
  type Call,
  type OptionKinds,
  type Outcome,
  Stop,
  UsageMistake,
  usageLine,
} from './command.ts'
import type { Image, ImageServices } from './services.ts'

/** The services that a session needs. */
export interface SessionServices extends ImageServices {
  /** A monotonic clock, in nanoseconds. */
  now(): number
  /** Resolves after `milliseconds`, or when `until` is aborted, and keeps the program alive until then. */
  sleep(milliseconds: number, until?: AbortSignal): Promise<void>
  /** Reads the first `limit` bytes of a file of the user. @throws an error with a POSIX `code` */
  readFile(path: string, limit: number): Promise<Uint8Array>
  /**
   * Sends a signal to the process; returns if the process survives it. Absent in programs that embed the
   * session: there the open image crashes and the session ends.
   */
  raise?(signal: number): void
}

/** Why a session takes no more lines. */
export type Ending = { readonly kind: 'quit' } | { readonly kind: 'signal'; readonly signal: number }

/** Settings of the program's command line for all commands. */
export interface SessionSettings {
  /** `--image-opts`: images are given by options. */
  readonly imageOptions?: boolean
  /** `-m`: buffers start 16 bytes after an aligned address. */
  readonly misalign?: boolean
}

const MISALIGNMENT = 16

/** A command, with its options prepared for getopt: scripts call a command thousands of times. */
interface Known {
  readonly command: AnyCommand
  readonly options: readonly (GetoptOption & { readonly short: string })[]
}

const known = (command: AnyCommand): Known => ({
  command,
  options: Object.entries((command.options ?? {}) as OptionKinds).map(([short, { takesValue }]) => ({
    short,
    takesValue,
  })),
})

/** One run of the program, from the first command to the last. */
export class Session {
  readonly services: SessionServices
  readonly settings: SessionSettings
  readonly commands: readonly AnyCommand[]
  readonly #output: TextOutput
  readonly #byName = new Map<string, Known>()
  readonly #inFlight = new Set<Promise<void>>()
  /**
   * Texts of requests that completed while no command was waiting; they are held because QEMU's event loop
   * would not have run then.
   */
  #held: string[] = []
  #waiting = 0
  #image: Image | undefined
  #ending: Ending | undefined

  constructor(
    commands: readonly AnyCommand[],
    output: TextOutput,
    services: SessionServices,
    settings: SessionSettings = {},
  ) {
    this.commands = [...commands].sort((a, b) => (a.name < b.name ? -1 : 1))
    this.services = services
    this.settings = settings
    this.#output = output
    for (const one of commands.map(known)) {
      this.#byName.set(one.command.name, one)
      if (one.command.alias) this.#byName.set(one.command.alias, one)
    }
  }

  // ---- state ----

  get image(): Image | undefined {
    return this.#image
  }
  /** Why the session takes no more lines; undefined while it does. */
  get ending(): Ending | undefined {
    return this.#ending
  }
  /** Finds a command by name or alias. */
  find(name: string): AnyCommand | undefined {
    return this.#byName.get(name)?.command
  }

  /** Sets the image that commands work on. */
  attach(image: Image): void {
    this.#image = image
  }

  /** Waits for the requests in flight, then closes the image, if any. @throws the error of closing it */
  async close(): Promise<void> {
    const image = this.#image
    await this.settle()
    this.#image = undefined
    await image?.close()
  }

  /** Ends the session: it takes no more lines. */
  end(ending: Ending): void {
    this.#ending ??= ending
  }

  /** Simulates death by a signal: the image crashes; nothing is flushed or closed. */
  async crash(signal: number): Promise<void> {
    const image = this.#image
    this.#image = undefined
    this.end({ kind: 'signal', signal })
    await image?.crash()
    await Promise.allSettled(this.#inFlight)
    this.#held = []
  }

  // ---- texts ----

  /** Writes to standard output. */
  print(text: string): void {
    this.#output.print(text)
  }
  /** Makes a name from an image safe for {@link print}. */
  shown(name: string): string {
    return this.#output.shown?.(name) ?? name
  }
  /** Writes to standard error, without a prefix. */
  complain(text: string): void {
    this.#output.error(text)
  }
  /** Writes an error message, with the program's name, which scripts look for. */
  error(message: string): void {
    this.#output.error(`qemu-io: ${message}\n`)
  }
  warn(message: string): void {
    this.error(`warning: ${message}`)
  }
  flush(): void {
    this.#output.flush()
  }

  // ---- requests ----

  /** Allocates a buffer for a request, filled with one byte value. */
  buffer(bytes: number, fill: number): Uint8Array {
    const buffer = this.settings.misalign
      ? new Uint8Array(new ArrayBuffer(bytes + MISALIGNMENT), MISALIGNMENT)
      : new Uint8Array(bytes)
    return fill === 0 ? buffer : buffer.fill(fill)
  }

  /** Awaits a step of a command. Meanwhile requests in flight may complete and print their results. */
  async wait<T>(step: Promise<T>): Promise<T> {
    this.#waiting++
    const held = this.#held
    this.#held = []
    for (const text of held) this.print(text)
    try {
      return await step
    } finally {
      this.#waiting--
    }
  }

  /** Runs and times a request. @returns nanoseconds (at least one, since rates divide by it) */
  async timed(request: () => Promise<void>): Promise<number> {
    const start = this.services.now()
    await this.wait(request())
    return Math.max(1, this.services.now() - start)
  }

  /** Lets a request run beside later commands; `work` returns the text to print when it has completed. */
  submit(work: () => Promise<string>): void {
    const request = work().then((text) => {
      this.#inFlight.delete(request)
      if (this.#ending?.kind === 'signal') return
      if (this.#waiting > 0) this.print(text)
      else this.#held.push(text)
    })
    this.#inFlight.add(request)
  }

  /** Whether requests are in flight, or results of completed ones are not printed yet. */
  get busy(): boolean {
    return this.#inFlight.size > 0 || this.#held.length > 0
  }

  /** Waits for all requests in flight. */
  async settle(): Promise<void> {
    while (this.busy) await this.wait(Promise.all(this.#inFlight))
  }

  // ---- lines ----

  /** Runs one line. Never throws: errors are printed, and the outcome is `failed`. */
  async run(line: string): Promise<Outcome> {
    const [name, ...words] = line.split(' ').filter((word) => word !== '')
    if (name === undefined) return 'ok'
    const found = this.#byName.get(name)
    if (!found) {
      this.complain(`command "${name}" not found\n`)
      return 'failed'
    }
    try {
      return await this.#dispatch(found, name, words)
    } catch (error) {
      return this.#explain(error, found.command)
    }
  }

  async #dispatch(found: Known, name: string, words: readonly string[]): Promise<Outcome> {
    const { command } = found
    const image = this.#image
    if (command.needsImage && !image) return this.#refuse(`no file open, try 'help open'\n`)
    const { min, max } = command.words
    if (words.length < min || words.length > (max ?? words.length)) {
      const expected =
        max === undefined ? `at least ${min}` : min === max ? `${min}` : `between ${min} and ${max}`
      return this.#refuse(`bad argument count ${words.length} to ${name}, expected ${expected} arguments\n`)
    }
    if (command.writes && image?.node.readOnly) throw new Stop('Block node is read-only\n', 'error')
    return command.run(this.#call(found, name, words, image?.node))
  }

  #call(
    { command, options: letters }: Known,
    name: string,
    words: readonly string[],
    node: BlockNode | undefined,
  ): Call {
    const call = { session: this, node: node!, print: (text: string) => this.print(text) }
    if (!command.options) return { ...call, options: {}, given: [], operands: words, words }
    const kinds = command.options as OptionKinds
    const parser = new Getopt([name, ...words], letters)
    const given: { name: string; value: unknown }[] = []
    const options: Record<string, unknown> = {}
    for (const step of parser) {
      if (step.kind !== 'option') {
        this.complain(`${name}: ${step.message}\n`)
        throw new UsageMistake()
      }
      const { short } = step.option
      const value = kinds[short]!.parse(step.value ?? '', this)
      given.push({ name: short, value })
      options[short] = value
    }
    const { operands, permuted } = parser
    const { min, max } = command.operands ?? { min: 0 }
    if (operands.length < min || operands.length > (max ?? operands.length)) throw new UsageMistake()
    return { ...call, options, given, operands, words: permuted }
  }

  #refuse(text: string): Outcome {
    this.complain(text)
    return 'failed'
  }

  #explain(error: unknown, command: AnyCommand): Outcome {
    if (error instanceof UsageMistake) {
      this.print(usageLine(command))
      return 'failed'
    }
    if (error instanceof Stop) {
      if (error.stream === 'print') this.print(error.message)
      else this.complain(`qemu-io: ${error.message}`)
      return error.outcome
    }
    this.error(messageOf(error) || errorText(error))
    return 'failed'
  }
}
