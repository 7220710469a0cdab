/** The lines typed at a terminal, kept from session to session in a file, of which the program passes in the access. */

/** Access to the file. Each method may throw: then the history is that of the session alone. */
export interface HistoryFile {
  /** The whole text. */
  read(): string
  /** Adds to the end; makes the file, readable for its owner alone, if it does not exist. */
  append(text: string): void
  /** Replaces the whole text, in one step. */
  replace(text: string): void
}

/** The history of a session. */
export interface History {
  /** The lines of earlier sessions, the newest first. */
  readonly earlier: readonly string[]
  /** Keeps a line. */
  add(line: string): void
}

/** Most lines that are kept, and offered. */
export const HISTORY_LINES = 1000

/** Lines beyond the limit that may gather before the file is shortened: sessions beside each other only append. */
const SLACK = 200

/** Reads the history, and shortens the file if it has become long. */
export function openHistory(file: HistoryFile): History {
  const lines =
    attempt(() =>
      file
        .read()
        .split('\n')
        .filter((line) => line !== ''),
    ) ?? []
  const kept = lines.slice(-HISTORY_LINES)
  if (lines.length > HISTORY_LINES + SLACK) attempt(() => file.replace(`${kept.join('\n')}\n`))
  let last = kept.at(-1)
  return {
    earlier: kept.toReversed(),
    add(typed) {
      const line = typed.trimEnd()
      // As in shells: what begins with a space is not kept, and neither is a repetition.
      if (line === '' || line.startsWith(' ') || line === last) return
      last = line
      attempt(() => file.append(`${line}\n`))
    },
  }
}

function attempt<T>(step: () => T): T | undefined {
  try {
    return step()
  } catch {
    return undefined
  }
}
