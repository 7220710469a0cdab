#!/usr/bin/env node
/** Connects the program to the process: arguments, streams, signals, exit status. No other file here does. */
import type { TextOutput } from '@vmblock/cli'
import { isCharacterDevice, launch } from '@vmblock/cli/process'
import type { BarTerminal, ProgressBar } from './kit/progress-bar.ts'

type Program = typeof import('./program.ts')

// Not imported, for the reason given in the launcher.
const fs = process.getBuiltinModule('node:fs')

/** Signals that ask a program to end. */
const INTERRUPTS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/** The tty module is loaded only for what may be a terminal. */
const isTerminal = (fd: 1 | 2): boolean =>
  isCharacterDevice(fd) && (fd === 1 ? process.stdout : process.stderr).isTTY === true

async function run(
  { main, programEnvironment, terminalBar }: Program,
  argv: readonly string[],
  output: TextOutput,
): Promise<number> {
  let endedBy: NodeJS.Signals | undefined
  const { registry, host } = programEnvironment({
    readText: (path) => fs.promises.readFile(path, 'utf8'),
    print: (line) => output.print(`${line}\n`),
    onMismatch(line) {
      output.flush()
      output.error(`${line}\n`)
      process.exit(1)
    },
  })
  let bar: ProgressBar | undefined
  const barTerminal: BarTerminal = {
    now: () => performance.now(),
    openBar: () => (bar = terminalBar(process.stderr)),
  }
  const status = await main(
    argv,
    {
      ...output,
      print(text) {
        bar?.hide()
        output.print(text)
      },
      error(text) {
        bar?.hide()
        output.error(text)
      },
    },
    {
      registry,
      host,
      readFile: (path) => fs.promises.readFile(path),
      realPath: (path) => fs.promises.realpath(path).catch(() => undefined),
      // Both: a bar between the lines of a log would be a trace, and so would one beside the results of a pipe.
      ...(isTerminal(1) && isTerminal(2) && { barTerminal }),
      onProgressRequest(listener) {
        process.on('SIGUSR1', listener)
        return () => process.off('SIGUSR1', listener)
      },
      onInterrupt(listener) {
        const interrupt = (signal: NodeJS.Signals): void => {
          endedBy ??= signal
          listener()
        }
        // A second signal has its default effect.
        for (const signal of INTERRUPTS) process.once(signal, interrupt)
        return () => {
          for (const signal of INTERRUPTS) process.off(signal, interrupt)
        }
      },
    },
  )
  if (endedBy !== undefined) {
    // The parent process should see that the program was killed by this signal.
    process.kill(process.pid, endedBy)
    await new Promise(() => {})
  }
  return status
}

/** Commands that move data; the others end before anything is worth optimizing, or are a single loop. */
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
