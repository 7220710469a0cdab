/** A program's output: results, and messages with the prefix that scripts compare. */
import { messageOf } from '@vmblock/block-core'
import { errorText } from '@vmblock/block-core/late'
import type { TextOutput } from '../text/buffered-output.ts'
import { Failure, statusOf } from './failure.ts'

/**
 * Where another message begins in that of an error: closing an image may fail for several caches. Other further lines belong
 * to the message, and have no prefix.
 */
const NEXT_MESSAGE = /\n(?=Failed to flush the )/

/** Prints results and messages. */
export class Output {
  readonly #program: string
  readonly #stream: TextOutput

  /** @param program the name that messages begin with */
  constructor(program: string, stream: TextOutput) {
    this.#program = program
    this.#stream = stream
  }

  /** Prints a result, with its newline. */
  print(text: string): void {
    this.#stream.print(text)
  }

  /** Makes a name from an image safe to print. */
  shown(name: string): string {
    return this.#stream.shown?.(name) ?? name
  }

  /** Writes the results that are held back: they must appear before later text on the other stream. */
  flush(): void {
    this.#stream.flush()
  }

  /** Prints a line on standard error, without prefix. */
  note(line: string): void {
    this.#stream.error(`${line}\n`)
  }

  error(message: string): void {
    this.#stream.error(`${this.#program}: ${message}\n`)
  }

  /** Prints the message of an error, or its messages. @param before what each begins with */
  explain(error: unknown, before = ''): void {
    const text = messageOf(error) || errorText(error)
    for (const message of text.split(NEXT_MESSAGE)) this.error(before + message)
  }

  /** A property, so that it can be passed on by itself. */
  readonly warn = (message: string): void => this.error(`warning: ${message}`)

  /** Prints a line from the block layer; its warnings come without the program's name. */
  relay(line: string): void {
    if (line.startsWith('warning: ')) this.error(line)
    else this.note(line)
  }

  /** Prints why a command failed. @returns the exit status */
  fail(error: unknown): number {
    if (!(error instanceof Failure)) {
      this.explain(error)
      return statusOf(error)
    }
    const { hint, closed = true, isUsage } = error.options
    for (const line of error.lines) this.error(line)
    if (isUsage) this.note(`Try '${this.#program} --help' for more information`)
    if (hint !== undefined) this.#stream.error(closed ? `${hint}\n` : hint)
    return statusOf(error)
  }
}
