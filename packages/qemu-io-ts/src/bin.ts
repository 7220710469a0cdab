#!/usr/bin/env node
/** Connects the program to the process: arguments, streams, signals, exit status. No other file here does. */
import type { TextOutput } from '@vmblock/cli'
import { isCharacterDevice, launch, writeNow } from '@vmblock/cli/process'
import type { CommandInput, Services } from './main.ts'
import type { ScratchDirectories } from './scratch.ts'

type Program = typeof import('./program.ts')

// Not imported, for the reason given in the launcher.
const fs = process.getBuiltinModule('node:fs')

const LONGEST_TIMER = 2 ** 31 - 1

async function sleep(milliseconds: number, until?: AbortSignal): Promise<void> {
  for (let left = milliseconds; left >= 0 && !until?.aborted; left -= LONGEST_TIMER) {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, Math.min(left, LONGEST_TIMER))
      const stop = (): void => {
        clearTimeout(timer)
        resolve()
      }
      until?.addEventListener('abort', stop, { once: true })
    })
  }
}

async function readFile(path: string, limit: number): Promise<Uint8Array> {
  if (limit > fs.statSync(path).size) return fs.readFileSync(path)
  const fd = fs.openSync(path, 'r')
  try {
    const buffer = new Uint8Array(limit)
    return buffer.subarray(0, fs.readSync(fd, buffer))
  } finally {
    fs.closeSync(fd)
  }
}

/** Signals that QEMU handles or ignores (USR1, PIPE, ALRM, IO), and those of the C library's threads. */
const HANDLED = new Set([0, 10, 13, 14, 29, 32, 33])
const LAST_SIGNAL = 64

function raise(signal: number): void {
  if (HANDLED.has(signal) || signal > LAST_SIGNAL) return
  process.kill(process.pid, signal)
}

/** Yields standard input (not a terminal) as it arrives. Reads only when the next chunk is requested. */
async function* readInput(): AsyncGenerator<Uint8Array> {
  const buffer = new Uint8Array(65536)
  for (;;) {
    const result = await new Promise<number | NodeJS.ErrnoException>((resolve) => {
      fs.read(0, buffer, 0, buffer.length, null, (error, bytes) => resolve(error ?? bytes))
    })
    if (result === 0) return
    if (typeof result === 'number') yield buffer.slice(0, result)
    // A non-blocking pipe needs another way of waiting.
    else if (result.code === 'EAGAIN') return yield* process.stdin
    else return
  }
}

/** The lines of standard input; readline is loaded only for terminals. */
function commandInput({ cutLines, terminalInput }: Program, print: (text: string) => void): CommandInput {
  let input: Promise<CommandInput> | undefined
  const open = async (): Promise<CommandInput> => {
    if (!isTerminal(0)) {
      const lines = cutLines(readInput())
      return {
        async nextLine(prompt) {
          print(prompt)
          const { value } = await lines.next()
          return value ?? undefined
        },
      }
    }
    const { createInterface } = await import('node:readline')
    const { stdin, stdout } = process
    return terminalInput({
      createInterface: (options) =>
        createInterface({ ...options, input: stdin, output: stdout, terminal: true }),
      setRawMode: (raw) => void stdin.setRawMode(raw),
      interrupt: () => process.kill(process.pid, 'SIGINT'),
      onContinue: (listener) => void process.on('SIGCONT', listener),
      write: (text) => writeNow(1, text),
    })
  }
  return {
    async nextLine(prompt, complete) {
      input ??= open()
      return (await input).nextLine(prompt, complete)
    },
  }
}

const isTerminal = (fd: number): boolean =>
  isCharacterDevice(fd) && (fd === 0 ? process.stdin.isTTY : process.stdout.isTTY) === true

async function run(program: Program, argv: readonly string[], output: TextOutput): Promise<number> {
  const { FORMATS, main, programEnvironment, runScratch } = program
  const start = process.hrtime.bigint()
  const services: Services = {
    environment: programEnvironment,
    formats: FORMATS,
    now: () => Number(process.hrtime.bigint() - start),
    sleep,
    readFile,
    raise,
  }
  const input = commandInput(program, (text) => {
    output.print(text)
    output.flush()
  })
  const streams = { output, input }
  if (argv[0] !== '--scratch') return main(argv, streams, services)
  const [os, path] = await Promise.all([import('node:os'), import('node:path')])
  const state = process.env['XDG_STATE_HOME'] || path.join(os.homedir(), '.local', 'state')
  const scratchDirectories: ScratchDirectories = {
    directories: [path.join(state, 'vmblock'), path.join(os.tmpdir(), 'vmblock')],
    join: (directory, name) => path.join(directory, name),
    exists: (name) => fs.existsSync(name),
    makeDirectory: (name) => void fs.mkdirSync(name, { recursive: true }),
  }
  return runScratch(argv.slice(1), streams, services, scratchDirectories)
}

launch<Program>({ bin: __filename, require, name: 'qemu-io', run })
