/** The program's output: results, and messages with the prefix that scripts compare. */
import { messageOf } from '@vmblock/block-core'

/** The output streams. Text comes with its newlines. */
export interface Streams {
  /** Standard output. May hold text back until {@link flush}. */
  out(text: string): void
  /** Standard error. */
  err(text: string): void
  /** Writes the text that `out` holds back. */
  flush(): void
  /** The width of the terminal in characters, if standard output is one. */
  columns?(): number | undefined
  /** Makes an untrusted name safe for `out`. If absent, names are printed unchanged. */
  shown?(name: string): string
}

/** How a failure ends the program. */
export interface FailureOptions {
  /** Exit status. Default 1. */
  readonly status?: number
  /** Further lines, without prefix. */
  readonly hint?: string
  /** Whether the hint ends with a newline; one hint of QEMU does not. Default true. */
  readonly closed?: boolean
}

/** Ends a command with a message. Each line is a separate message. */
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

/** The failure for an invalid command line; the message points to the help. */
export const usageFailure = (message: string): Failure =>
  new Failure(message, { hint: `Try 'qemu-img --help' for more information` })

/** Prints results and messages. */
export class Output {
  readonly #streams: Streams

  constructor(streams: Streams) {
    this.#streams = streams
  }

  /** Prints a result, with its newline. */
  print(text: string): void {
    this.#streams.out(text)
  }

  /** Makes a name from an image safe to print. */
  shown(name: string): string {
    return this.#streams.shown?.(name) ?? name
  }

  /** Prints a result that must appear before later text on the other stream. */
  printNow(text: string): void {
    this.#streams.out(text)
    this.#streams.flush()
  }

  /** The width of the terminal in characters; undefined if there is none. */
  get columns(): number | undefined {
    return this.#streams.columns?.()
  }

  /** Prints a line on standard error, without prefix. */
  note(line: string): void {
    this.#streams.err(`${line}\n`)
  }

  error(message: string): void {
    this.#streams.err(`qemu-img: ${message}\n`)
  }

  warn(message: string): void {
    this.error(`warning: ${message}`)
  }

  /** Prints a line from the block layer; its warnings come without the program's name. */
  relay(line: string): void {
    if (line.startsWith('warning: ')) this.error(line)
    else this.note(line)
  }

  /** Prints why a command failed. @returns the exit status */
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
