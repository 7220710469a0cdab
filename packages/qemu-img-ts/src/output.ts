/** What the program says: results, and messages with the name that scripts compare. */
import { messageOf } from '@vmblock/block-core'

/** Where the program writes. Both take text with its newlines. */
export interface Streams {
  /** Standard output. May keep text back until {@link flush}. */
  out(text: string): void
  /** Standard error. */
  err(text: string): void
  /** Brings out what `out` keeps back. */
  flush(): void
  /** How many characters fit in a line, where standard output is a terminal. */
  columns?(): number | undefined
  /** A name that others chose, as `out` may be given it. Without it, it is given as it is. */
  shown?(name: string): string
}

/** How a failure ends the program. */
export interface FailureOptions {
  /** Exit status. Default 1. */
  readonly status?: number
  /** More lines, which carry no prefix. */
  readonly hint?: string
  /** Whether the hint ends with a newline; QEMU forgets one of them. Default true. */
  readonly closed?: boolean
}

/** Ends a command with a message. Each line is a message of its own. */
export class Failure extends Error {
  override readonly name = 'Failure'
  readonly lines: readonly string[]
  readonly status: number
  readonly hint: string | undefined
  readonly closed: boolean

  constructor(lines: string | readonly string[], options: FailureOptions = {}) {
    super(typeof lines === 'string' ? lines : lines.join('\n'))
    this.lines = typeof lines === 'string' ? [lines] : lines
    this.status = options.status ?? 1
    this.hint = options.hint
    this.closed = options.closed ?? true
  }
}

/** A command line that makes no sense; the message points to the help. */
export const usageFailure = (message: string): Failure =>
  new Failure(message, { hint: `Try 'qemu-img --help' for more information` })

/** The program's voice. */
export class Output {
  readonly #streams: Streams

  constructor(streams: Streams) {
    this.#streams = streams
  }

  /** A result, with its newline. */
  print(text: string): void {
    this.#streams.out(text)
  }

  /** A name that an image holds, for a result. */
  shown(name: string): string {
    return this.#streams.shown?.(name) ?? name
  }

  /** A result that must be seen before what follows on the other stream. */
  printNow(text: string): void {
    this.#streams.out(text)
    this.#streams.flush()
  }

  /** How many characters fit in a line of the terminal; undefined where there is none. */
  get columns(): number | undefined {
    return this.#streams.columns?.()
  }

  /** A line on standard error that carries no prefix. */
  note(line: string): void {
    this.#streams.err(`${line}\n`)
  }

  error(message: string): void {
    this.#streams.err(`qemu-img: ${message}\n`)
  }

  warn(message: string): void {
    this.error(`warning: ${message}`)
  }

  /** A line that the block layer has for a person; its warnings come without the program's name. */
  relay(line: string): void {
    if (line.startsWith('warning: ')) this.error(line)
    else this.note(line)
  }

  /** Says why a command ends. @returns the exit status */
  fail(error: unknown): number {
    if (!(error instanceof Failure)) {
      this.error(messageOf(error))
      return 1
    }
    for (const line of error.lines) this.error(line)
    if (error.hint !== undefined) this.#streams.err(error.closed ? `${error.hint}\n` : error.hint)
    return error.status
  }
}
