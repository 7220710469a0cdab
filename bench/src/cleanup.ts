/** What must be undone however the run ends: by itself, by an error, or because somebody interrupts it. */

const undo = new Set<() => void>()

/** Runs `action`, which must be synchronous, before the process ends. @returns what takes it back */
export function atExit(action: () => void): () => void {
  undo.add(action)
  return () => {
    undo.delete(action)
  }
}

const EXIT_CODES = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const

/** From now on signals end the process in an orderly way. Call once. */
export function handleSignals(): void {
  for (const [signal, code] of Object.entries(EXIT_CODES)) process.once(signal, () => process.exit(code))
  process.on('exit', () => {
    // What was begun last is undone first: programs end before their files go.
    for (const action of [...undo].reverse()) {
      try {
        action()
      } catch (error) {
        process.stderr.write(`vmblock: cleaning up: ${String(error)}\n`)
      }
    }
  })
}
