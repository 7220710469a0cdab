/** Signals that end work at once, whatever request is in flight. */
import type { AbortSignalLike } from '@vmblock/block-core'

/**
 * Calls back when a signal is aborted, now if it is already.
 *
 * @returns ends that: signals often live longer than what they end
 */
export function onAbort(signal: AbortSignalLike | undefined, ended: (reason: unknown) => void): () => void {
  if (!signal) return () => undefined
  const listener = (): void => ended(signal.reason)
  if (signal.aborted) listener()
  else signal.addEventListener('abort', listener)
  return () => signal.removeEventListener('abort', listener)
}

/** The result of `work`, unless the signal comes first: then its reason, and nothing waits for `work`. */
export async function untilAborted<T>(
  work: Promise<T>,
  ...signals: readonly (AbortSignalLike | undefined)[]
): Promise<T> {
  const ends: (() => void)[] = []
  try {
    return await Promise.race([
      work,
      new Promise<never>((_, reject) => {
        for (const signal of signals) ends.push(onAbort(signal, reject))
      }),
    ])
  } finally {
    for (const end of ends) end()
  }
}
