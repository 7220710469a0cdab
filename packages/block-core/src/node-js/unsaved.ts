/**
 * A warning, in development, about files still open for writing when the process ends: unflushed data may be
 * lost, and so may tables that a format above holds only in memory. Only a name and a flag are kept per file.
 * There is no warning in production (`NODE_ENV=production`), nor for files that were closed or crashed.
 */
import { writeSync } from 'node:fs'

const open = new Set<Unsaved>()
let isListening = false

/** The state of one open file for the warning. */
export class Unsaved {
  readonly #filename: string
  readonly #isOn: boolean
  /** Whether anything was written since the last flush. Every write sets it: a plain field costs nothing. */
  isDirty = false

  /** @param isOn whether to warn at all */
  constructor(filename: string, isOn: boolean) {
    this.#filename = filename
    this.#isOn = isOn
  }

  /** Called when the file is open for writing. */
  watch(): void {
    if (!this.#isOn || process.env['NODE_ENV'] === 'production') return
    open.add(this)
    if (isListening) return
    isListening = true
    process.on('exit', warn)
  }

  /** Called when the file was closed, crashed on purpose, or became read-only. */
  forget(): void {
    open.delete(this)
  }

  /** The warning, on one line. */
  get warning(): string {
    const what = this.isDirty
      ? 'was written and not flushed or closed: what was written since its last flush may be lost'
      : 'was open for writing and not closed: what formats above it kept in memory may be lost'
    return `vmblock: warning: '${this.#filename}' ${what} (await close() before the process ends)`
  }
}

/** On exit only synchronous calls still work, in worker threads too. */
function warn(): void {
  const lines = new Set([...open].map(({ warning }) => `${warning}\n`))
  open.clear()
  try {
    for (const line of lines) writeSync(2, line)
  } catch {
    // Standard error is closed.
  }
}
