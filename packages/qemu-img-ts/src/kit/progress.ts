/** The progress line of `-p`, and the one requested by a signal. */
import { fixedText, type OptionKind, type Output } from '@vmblock/cli'
import type { Call } from './command.ts'

/** Characters: the bar on a terminal, and its frame, with the last column left free. */
const LONGEST_BAR = 50
const SHORTEST_BAR = 10
const BAR_FRAME = 4
const LONGEST_TEXT = '    (100.00/100%)'.length

/** Options of the progress line. */
export interface ProgressOptions {
  /** Whether `-p` was given. */
  readonly shown: boolean
  /** Percent by which progress must move to be printed again, except at 0 and 100. */
  readonly minSkip: number
}

/**
 * Progress of one command in percent. QEMU counts in single precision and prints two decimals, so each step
 * is rounded as there (util/qemu-progress.c).
 */
export class Progress {
  readonly #output: Output
  readonly #shown: boolean
  readonly #minSkip: number
  #current = 0
  #lastPrinted = 0
  /** Whether one line was requested by a signal. */
  #requested = false
  #ended = false

  constructor(output: Output, { shown, minSkip }: ProgressOptions) {
    this.#output = output
    this.#shown = shown
    this.#minSkip = minSkip
  }

  /** Sets progress to `percent`. */
  set(percent: number): void {
    this.#current = Math.min(Math.fround(percent), 100)
    const moved = Math.abs(this.#current - this.#lastPrinted) > this.#minSkip
    if (!moved && this.#current !== 100 && this.#current !== 0) return
    this.#lastPrinted = this.#current
    this.#print()
  }

  /** Sets progress to `done` of `total` units of work. */
  setPart(done: number, total: number): void {
    this.set(total === 0 ? 0 : Math.fround(Math.fround(100 * Math.fround(done)) / Math.fround(total)))
  }

  /** Adds `part` of `total` units of work. */
  advance(part: number, total: number): void {
    const percent = Math.fround(Math.fround(Math.fround(part) / Math.fround(total)) * 100)
    this.set(Math.fround(this.#current + percent))
  }

  /** Prints one line to standard error at the next update, unless progress is shown anyway (SIGUSR1). */
  request(): void {
    this.#requested = true
  }

  /** Ends the line, unless it has ended. */
  end(): void {
    if (this.#shown && !this.#ended) this.#output.print('\n')
    this.#ended = true
  }

  /** The bar after the number, as wide as the terminal allows; empty if there is no terminal. */
  #bar(text: string): string {
    const width = Math.min((this.#output.columns ?? 0) - LONGEST_TEXT - BAR_FRAME, LONGEST_BAR)
    if (width < SHORTEST_BAR) return ''
    const full = Math.floor((width * this.#current) / 100)
    return `${' '.repeat(LONGEST_TEXT - text.length)} [${'='.repeat(full)}${' '.repeat(width - full)}]`
  }

  #print(): void {
    const text = `    (${fixedText(this.#current, 2)}/100%)`
    if (this.#shown) {
      this.#output.print(`${text}${this.#bar(text)}\r`)
      this.#output.flush()
    } else if (this.#requested) this.#output.note(text)
    this.#requested = false
  }
}

/**
 * Starts the progress line of a subcommand, which is shown with `-p`. Unless the subcommand ends it, it ends after a
 * failure's message, as in QEMU.
 *
 * @param minSkip percent by which progress must move to be printed again, except at 0 and 100
 */
export function startProgress(
  { options, output, services, atEnd }: Call<{ progress: OptionKind<true>; quiet: OptionKind<true> }>,
  minSkip: number,
): Progress {
  const progress = new Progress(output, { shown: options.progress === true && !options.quiet, minSkip })
  const stop = services.onProgressRequest?.(() => progress.request())
  atEnd(() => {
    stop?.()
    progress.end()
  })
  return progress
}
