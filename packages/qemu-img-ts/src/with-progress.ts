/** Running a subcommand that shows how far it is. */
import type { Call } from './command.ts'
import { Progress, type ProgressOptions } from './progress.ts'

/**
 * Runs `body` with a progress line, which ends after the message of a failure, as QEMU's does.
 *
 * @returns the exit status
 */
export async function withProgress(
  { output, services }: Pick<Call, 'output' | 'services'>,
  options: ProgressOptions,
  body: (progress: Progress) => Promise<number>,
): Promise<number> {
  const progress = new Progress(output, options)
  const stop = services.onProgressRequest?.(() => progress.request())
  try {
    return await body(progress)
  } catch (error) {
    return output.fail(error)
  } finally {
    stop?.()
    progress.end()
  }
}
