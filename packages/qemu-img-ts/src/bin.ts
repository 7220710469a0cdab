#!/usr/bin/env node
/** The process around the program: arguments, streams, signals and exit status. Nothing else touches `process`. */
import type { TextOutput } from '@vmblock/cli'
import { isCharacterDevice, launch } from '@vmblock/cli/process'

type Program = typeof import('./program.ts')

// Not by `import`, for the reason that the launcher gives.
const fs = process.getBuiltinModule('node:fs')

/** What asks a program to end. */
const INTERRUPTS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

async function run(
  { main, nodeEnvironment }: Program,
  argv: readonly string[],
  output: TextOutput,
): Promise<number> {
  let endedBy: NodeJS.Signals | undefined
  const { registry, host } = nodeEnvironment({
    readText: (path) => fs.promises.readFile(path, 'utf8'),
    print: (line) => output.print(`${line}\n`),
  })
  const streams = {
    out: (text: string) => output.print(text),
    err: (text: string) => output.error(text),
    flush: () => output.flush(),
    columns: () => (isCharacterDevice(1) ? process.stdout.columns : undefined),
    shown: (name: string) => output.shown?.(name) ?? name,
  }
  const status = await main(argv, streams, {
    registry,
    host,
    readFile: (path) => fs.promises.readFile(path),
    realPath: (path) => fs.promises.realpath(path).catch(() => undefined),
    onProgressRequest(listener) {
      process.on('SIGUSR1', listener)
      return () => process.off('SIGUSR1', listener)
    },
    onInterrupt(listener) {
      const interrupt = (signal: NodeJS.Signals): void => {
        endedBy ??= signal
        listener()
      }
      // A second signal does what it always does.
      for (const signal of INTERRUPTS) process.once(signal, interrupt)
      return () => {
        for (const signal of INTERRUPTS) process.off(signal, interrupt)
      }
    },
  })
  if (endedBy !== undefined) {
    // Whoever started the program shall see that it was killed.
    process.kill(process.pid, endedBy)
    await new Promise(() => {})
  }
  return status
}

/** Commands that move data; the others are over before anything is worth optimizing, or are one loop. */
const LONG = ['commit', 'compare', 'convert']

const [, , word = ''] = process.argv
launch<Program>({
  bin: __filename,
  require,
  command: /^[a-z]+$/.test(word) ? word : 'none',
  name: 'qemu-img',
  isBrief: !LONG.includes(word),
  run,
})
