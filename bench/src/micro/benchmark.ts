/** One hot function: how it is set up, and what is timed. */

/** What is timed. */
export interface Micro {
  /** Words that a filter looks in, and that results are compared by. */
  readonly name: string
  /** Operations of one call of what {@link prepare} gives. */
  readonly batch: number
  /**
   * Makes what the operation needs.
   *
   * @returns `batch` operations in a row: an asynchronous function where the operation is one
   */
  prepare(): Promise<() => unknown>
}

/** Operations that are timed at a time: enough of them that the clock does not count. */
export const BATCH = 1000

/** Of operations that take microseconds: a batch should be over before somebody else has his turn. */
export const FEW = 20

/** Where results go that would else be computed for nobody, and so perhaps not at all. */
export const sink = { value: undefined as unknown }
