/** The long operations of subcommands: jobs, which Ctrl-C cancels. */
import { Job, type JobControl, type JobOptions } from '@vmblock/block-core'
import { Failure } from '@vmblock/cli'
import type { Call } from './command.ts'

/** Exit status of a program ended by SIGINT. */
export const INTERRUPTED = 130

/**
 * Runs an operation that cannot stop midway. If the program is asked to end meanwhile, its result is taken back: a file
 * that is half made looks like a whole one.
 *
 * @throws what the operation throws; Failure with the status {@link INTERRUPTED}
 */
export async function runWhole<T>(
  { services }: Pick<Call, 'services'>,
  operation: () => Promise<T>,
  takeBack: (result: T) => Promise<void>,
): Promise<T> {
  let isInterrupted = false
  const stop = services.onInterrupt?.(() => {
    isInterrupted = true
  })
  try {
    const result = await operation()
    if (!isInterrupted) return result
    await takeBack(result)
    throw new Failure([], { status: INTERRUPTED })
  } finally {
    stop?.()
  }
}

/**
 * Runs an operation, which stops when the program is asked to end.
 *
 * @throws what the operation throws; Failure with the status {@link INTERRUPTED}
 */
export async function runJob<T>(
  { services }: Pick<Call, 'services'>,
  operation: (control: JobControl) => Promise<T>,
  onProgress?: JobOptions['onProgress'],
): Promise<T> {
  const job = new Job(operation, { onProgress })
  // No message: an interrupt explains itself.
  const stop = services.onInterrupt?.(() => void job.cancel(new Failure([], { status: INTERRUPTED })))
  try {
    return await job.done
  } finally {
    stop?.()
  }
}
