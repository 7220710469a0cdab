/** The error that ends a command, or a whole program, with messages in QEMU's words. */

/** How a failure ends the program. */
export interface FailureOptions {
  /** Exit status. Default 1. */
  readonly status?: number
  /** Further lines, without prefix. */
  readonly hint?: string
  /** Whether the hint ends with a newline; one hint of QEMU does not. Default true. */
  readonly closed?: boolean
  /** Whether the command line is wrong: the hint is then where to find the help. */
  readonly isUsage?: boolean
}

/** Ends a command with a message. Each line is a separate message. */
export class Failure extends Error {
  override readonly name = 'Failure'
  readonly lines: readonly string[]
  readonly options: FailureOptions

  constructor(lines: string | readonly string[], options: FailureOptions = {}) {
    super(typeof lines === 'string' ? lines : lines.join('\n'))
    this.lines = typeof lines === 'string' ? [lines] : lines
    this.options = options
  }
}

/** The exit status of a program that an error ends. */
export const statusOf = (error: unknown): number =>
  error instanceof Failure ? (error.options.status ?? 1) : 1

/** The failure for an invalid command line; the message points to the help. */
export const usageFailure = (message: string): Failure => new Failure(message, { isUsage: true })
