/** What a bar on a terminal does; the program brings it. */

/** A bar on a terminal. */
export interface ProgressBar {
  /**
   * @param fraction what is done, from 0 to 1
   * @param rate bytes in a second; undefined for work that is not measured in bytes
   */
  show(fraction: number, rate: number | undefined): void
  /** Erases it until the next `show`: a message follows. */
  hide(): void
  /** Ends it. @param keep whether it stays on the terminal, with a newline */
  end(keep: boolean): void
}

/** The terminal of the program, as far as bars need it. */
export interface BarTerminal {
  /** Milliseconds, monotonic. */
  now(): number
  /** Makes a bar, of which there is one at a time. */
  openBar(): ProgressBar
}
