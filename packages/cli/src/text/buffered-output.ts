/**
 * Standard output with the buffering of C's stdio, which determines how the two streams interleave when both
 * go to one file: scripts compare such files.
 */
import { visibleMessage, visibleName, visibleText } from './visible.ts'

/** The output of a program. `print` may hold text back until `flush`; `error` may not. */
export interface TextOutput {
  print(text: string): void
  /** Prints a whole message, with its newline. A terminal gets only line breaks of the library's own. */
  error(text: string): void
  flush(): void
  /** Makes an untrusted name safe for `print`: on a terminal it is one line without control characters. */
  shown?(name: string): string
}

/** Writes all of a text before it returns. */
export type WriteNow = (text: string) => void

/** The C library's buffer size on Linux. In characters, since all but file names is ASCII. */
const BUFFER = 4096

/**
 * Holds printed text back until it fills a buffer or is flushed; errors are written at once.
 *
 * @param terminal whether `out` is a terminal: then complete lines are written at once too, and control
 * characters are escaped
 * @param errorTerminal whether `error` is a terminal
 */
export function bufferedOutput(
  out: WriteNow,
  error: WriteNow,
  terminal: boolean,
  errorTerminal = false,
): TextOutput {
  let held = ''
  /** Writes the first `length` characters held. */
  const release = (length: number): void => {
    if (length === 0) return
    const text = held.slice(0, length)
    held = held.slice(length)
    out(text)
  }
  return {
    print(text) {
      held += terminal ? visibleText(text) : text
      if (terminal) release(held.lastIndexOf('\n') + 1)
      if (held.length > BUFFER) release(held.length - (held.length % BUFFER))
    },
    error: (text) => error(errorTerminal ? visibleMessage(text) : text),
    flush: () => release(held.length),
    shown: (name) => (terminal ? visibleName(name) : name),
  }
}
