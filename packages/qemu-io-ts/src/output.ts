/**
 * Standard output with the buffering of C's stdio, which decides how the two streams interleave in a file
 * that takes both: scripts compare such files.
 */
import type { Output } from './session.ts'

/** Writes all of a text before it returns. */
export type WriteNow = (text: string) => void

/** What C's library takes for a pipe or file on Linux. Counted in characters, all but file names being ASCII. */
const BUFFER = 4096

/**
 * Holds back what is printed until it fills a buffer or somebody flushes; errors go out at once.
 *
 * @param lines for terminals: a finished line goes out at once too
 */
export function bufferedOutput(out: WriteNow, error: WriteNow, lines: boolean): Output {
  let held = ''
  const flush = (): void => {
    if (held === '') return
    const text = held
    held = ''
    out(text)
  }
  return {
    print(text) {
      held += text
      if (lines && text.endsWith('\n')) flush()
      else if (held.length > BUFFER) {
        const whole = held.length - (held.length % BUFFER)
        out(held.slice(0, whole))
        held = held.slice(whole)
      }
    },
    error,
    flush,
  }
}
