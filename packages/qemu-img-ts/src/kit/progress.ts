/** Progress: the text of `-p`, QEMU's byte for byte; on a terminal a bar; and the line requested by a signal. */
import { fixedText, type OptionKind, type Output } from '@vmblock/cli'
import type { Call } from './command.ts'
import type { BarTerminal, ProgressBar } from './progress-bar.ts'

/** Milliseconds after which a command without `-p` shows a bar on a terminal. */
const PATIENCE = 1000

/** Options of the progress line. */
export interface ProgressOptions {
  /** Whether `-p` was given. */
  readonly shown: boolean
  /** Percent by which progress must move to be printed again, except at 0 and 100. */
  readonly minSkip: number
  /** Where a bar takes the place of the text: at once with `-p`, else when the command has run for a while. */
  readonly terminal?: BarTerminal | undefined
  /** `-q`: no bar either. */
  readonly isQuiet?: boolean
}

/**
 * Progress of one command in percent. QEMU counts in single precision and prints two decimals, so each step
 * is rounded as there (util/qemu-progress.c).
 */
export class Progress {
  readonly #output: Output
  readonly #shown: boolean
  readonly #minSkip: number
  readonly #terminal: BarTerminal | undefined
  readonly #began: number
  #bar: ProgressBar | undefined
  /** Bytes of the whole work, as far as known. */
  #bytes: number | undefined
  #current = 0
  #lastPrinted = 0
  /** Whether one line was requested by a signal. */
  #requested = false
  #ended = false

  constructor(output: Output, { shown, minSkip, terminal, isQuiet = false }: ProgressOptions) {
    this.#output = output
    this.#shown = shown
    this.#minSkip = minSkip
    this.#terminal = isQuiet ? undefined : terminal
    this.#began = terminal?.now() ?? 0
  }

  /** Says of how many bytes the whole work consists: then a bar shows the rate. */
  ofBytes(total: number): void {
    this.#bytes = total
  }

  /** Sets progress to `percent`. */
  set(percent: number): void {
    this.#current = Math.min(Math.fround(percent), 100)
    if (this.#terminal && !this.#ended) this.#draw(this.#terminal)
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

  /** Ends the line, or the bar, unless it has ended. */
  end(): void {
    if (this.#ended) return
    this.#ended = true
    // Without -p, and after a failure, nothing stays.
    if (this.#bar) this.#bar.end(this.#shown && this.#current === 100)
    else if (this.#shown && !this.#terminal) this.#output.print('\n')
  }

  #draw(terminal: BarTerminal): void {
    if (!this.#shown && !this.#bar && terminal.now() - this.#began < PATIENCE) return
    this.#bar ??= terminal.openBar()
    const fraction = this.#current / 100
    const seconds = (terminal.now() - this.#began) / 1000
    const isKnown = this.#bytes !== undefined && seconds > 0
    this.#bar.show(fraction, isKnown ? (this.#bytes! * fraction) / seconds : undefined)
  }

  #print(): void {
    const text = `    (${fixedText(this.#current, 2)}/100%)`
    if (this.#shown && !this.#terminal) {
      this.#output.print(`${text}\r`)
      this.#output.flush()
    } else if (this.#requested && !this.#bar) this.#output.note(text)
    this.#requested = false
  }
}

/**
 * Starts the progress of a subcommand, which is shown with `-p`, and on a terminal in any case when it takes long. Unless the subcommand ends it, it ends after a
 * failure's message, as in QEMU.
 *
 * @param minSkip percent by which progress must move to be printed again, except at 0 and 100
 */
export function startProgress(
  { options, output, services, atEnd }: Call<{ progress: OptionKind<true>; quiet: OptionKind<true> }>,
  minSkip: number,
): Progress {
  const isQuiet = options.quiet === true
  const shown = options.progress === true && !isQuiet
  const progress = new Progress(output, { shown, minSkip, terminal: services.barTerminal, isQuiet })
  const stop = services.onProgressRequest?.(() => progress.request())
  atEnd(() => {
    stop?.()
    progress.end()
  })
  return progress
}
