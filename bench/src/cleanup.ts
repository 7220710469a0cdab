/** Actions that must be undone however the run ends: normally, by an error, or by a signal. */

const undo = new Set<() => void>()

/** Runs `action`, which must be synchronous, before the process ends. @returns a function that cancels it */
export function atExit(action: () => void): () => void {
  undo.add(action)
  return () => {
    undo.delete(action)
  }
}

const EXIT_CODES = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const

/** Makes signals end the process in an orderly way. Call once. */
export function handleSignals(): void {
  for (const [signal, code] of Object.entries(EXIT_CODES)) process.once(signal, () => process.exit(code))
  process.on('exit', () => {
    // Last registered, first undone: programs end before their files are removed.
    for (const action of [...undo].reverse()) {
      try {
        action()
      } catch (error) {
        process.stderr.write(`vmblock: cleaning up: ${String(error)}\n`)
      }
    }
  })
}
