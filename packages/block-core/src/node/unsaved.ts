/**
 * A word, in development, of files that were open for writing when the process ended: what was not flushed may be lost,
 * and a format above may have kept tables in memory alone. Nothing is held but a name and a flag, and nothing is said
 * in production (`NODE_ENV=production`), nor of what was closed or crashed.
 */
import { writeSync } from 'node:fs'

const open = new Set<Unsaved>()
let isListening = false

/** What is to be said of one open file. */
export class Unsaved {
  readonly #filename: string
  readonly #isOn: boolean
  /** Something was written since the last flush. Set by every write: a plain field costs nothing. */
  isDirty = false

  /** @param isOn whether anything is said at all */
  constructor(filename: string, isOn: boolean) {
    this.#filename = filename
    this.#isOn = isOn
  }

  /** The file is open for writing. */
  watch(): void {
    if (!this.#isOn || process.env['NODE_ENV'] === 'production') return
    open.add(this)
    if (isListening) return
    isListening = true
    process.on('exit', warn)
  }

  /** The file was closed, or crashed on purpose, or is only read from now on. */
  forget(): void {
    open.delete(this)
  }

  /** One line. */
  get warning(): string {
    const what = this.isDirty
      ? 'was written and not flushed or closed: what was written since its last flush may be lost'
      : 'was open for writing and not closed: what formats above it kept in memory may be lost'
    return `vmblock: warning: '${this.#filename}' ${what} (await close() before the process ends)`
  }
}

/** At the very end only synchronous calls still reach anything, in threads, too. */
function warn(): void {
  const lines = new Set([...open].map(({ warning }) => `${warning}\n`))
  open.clear()
  try {
    for (const line of lines) writeSync(2, line)
  } catch {
    // Nobody listens.
  }
}
