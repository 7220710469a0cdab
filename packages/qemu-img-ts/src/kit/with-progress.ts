/** Runs a subcommand with a progress line. */
import type { Call } from './command.ts'
import { Progress, type ProgressOptions } from './progress.ts'

/**
 * Runs `body` with a progress line, which ends after a failure's message, as in QEMU.
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
