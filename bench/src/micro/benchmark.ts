/** One hot function: its setup, and what is timed. */

/** A function to time. */
export interface Micro {
  /** The name, which filters match, and by which results are compared. */
  readonly name: string
  /** Number of operations in one call of the function that {@link prepare} returns. */
  readonly batch: number
  /**
   * Makes what the operation needs.
   *
   * @returns `batch` operations in a row: an asynchronous function if the operation is asynchronous
   */
  prepare(): Promise<() => unknown>
}

/** Operations that are timed together: enough that the cost of reading the clock does not matter. */
export const BATCH = 1000

/**
 * The same for operations that take microseconds: a batch should end before another process gets the
 * processor.
 */
export const FEW = 20

/** Receives results that nothing else uses, so that the compiler does not drop their computation. */
export const sink = { value: undefined as unknown }
