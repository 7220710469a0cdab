/** The long operations of subcommands: jobs, which Ctrl-C cancels. */
import { Job, type JobControl, type JobOptions } from '@vmblock/block-core'
import { Failure } from '@vmblock/cli'
import type { Call } from './command.ts'

/** Exit status of a program ended by SIGINT. */
export const INTERRUPTED = 130

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
