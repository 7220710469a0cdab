/**
 * Standard output with the buffering of C's stdio, which decides how the two streams interleave in a file
 * that takes both: scripts compare such files.
 */
import { visibleMessage, visibleName, visibleText } from './visible.ts'

/** Where texts go. `print` may hold them back until `flush`; `error` may not. */
export interface TextOutput {
  print(text: string): void
  /** A whole message, with its newline: of several lines only those of the library's own messages stay such on a terminal. */
  error(text: string): void
  flush(): void
  /** A name that others chose as `print` may be given it: a terminal gets it in one line, and without controls. */
  shown?(name: string): string
}

/** Writes all of a text before it returns. */
export type WriteNow = (text: string) => void

/** What C's library takes for a pipe or file on Linux. Counted in characters, all but file names being ASCII. */
const BUFFER = 4096

/**
 * Holds back what is printed until it fills a buffer or somebody flushes; errors go out at once.
 *
 * @param terminal `out` leads to a terminal: finished lines go out at once too, and nothing that it would obey
 * @param errorTerminal so does `error`
 */
export function bufferedOutput(
  out: WriteNow,
  error: WriteNow,
  terminal: boolean,
  errorTerminal = false,
): TextOutput {
  let held = ''
  /** Writes so many of the characters held. */
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
