#!/usr/bin/env node
/** Connects the program to the process: arguments, streams, signals, exit status. No other file here does. */
import type { Dirent } from 'node:fs'
import type { TextOutput } from '@vmblock/cli'
import { isCharacterDevice, launch, writeNow } from '@vmblock/cli/process'
import type { HistoryFile } from './history.ts'
import type { CommandInput, Services } from './main.ts'
import type { ScratchDirectories } from './scratch.ts'
import type { Entry } from './session/services.ts'

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

/** Bytes of one read of a file whose size says nothing, such as a device or a pipe. */
const PIECE = 2 ** 20

async function readFile(path: string, limit: number): Promise<Uint8Array> {
  const fd = fs.openSync(path, 'r')
  try {
    const stats = fs.fstatSync(fd)
    if (stats.isFile() && stats.size < limit) return fs.readFileSync(fd)
    const pieces: Uint8Array[] = []
    for (let done = 0; done < limit; ) {
      const piece = new Uint8Array(Math.min(PIECE, limit - done))
      const bytes = fs.readSync(fd, piece)
      if (bytes === 0) break
      pieces.push(piece.subarray(0, bytes))
      done += bytes
    }
    return Buffer.concat(pieces)
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
function commandInput(program: Program, print: (text: string) => void): CommandInput {
  const { cutLines, HISTORY_LINES, openHistory, terminalInput } = program
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
    return terminalInput(
      {
        createInterface: (options) =>
          createInterface({ ...options, input: stdin, output: stdout, terminal: true }),
        setRawMode: (raw) => void stdin.setRawMode(raw),
        onContinue: (listener) => void process.on('SIGCONT', listener),
        write: (text) => writeNow(1, text),
        history: openHistory(await historyFile()),
      },
      HISTORY_LINES,
    )
  }
  return {
    async nextLine(prompt, complete) {
      input ??= open()
      return (await input).nextLine(prompt, complete)
    },
    ...(isTerminal(0) && { onInterrupt: interrupts().on }),
  }
}

/**
 * Turns Ctrl-C into calls of a listener that changes from command to command. What comes between two of them, or before
 * the first, belongs to the next one; a second one without a listener ends the program.
 */
function interrupts(): { on(listener: () => void): () => void } {
  let current: (() => void) | undefined
  let isPending = false
  const interrupt = (): void => {
    // The terminal has echoed ^C.
    writeNow(1, '\n')
    if (current) current()
    else if (isPending) {
      process.off('SIGINT', interrupt)
      process.kill(process.pid, 'SIGINT')
    } else isPending = true
  }
  let isListening = false
  return {
    on(listener) {
      if (!isListening) process.on('SIGINT', interrupt)
      isListening = true
      current = listener
      if (isPending) setImmediate(() => current === listener && listener())
      isPending = false
      return () => {
        current = undefined
      }
    },
  }
}

/** The directory for what lasts from session to session. */
async function stateDirectory(): Promise<string> {
  const [os, path] = await Promise.all([import('node:os'), import('node:path')])
  return path.join(process.env['XDG_STATE_HOME'] || path.join(os.homedir(), '.local', 'state'), 'vmblock')
}

async function historyFile(): Promise<HistoryFile> {
  const directory = await stateDirectory()
  const { join } = await import('node:path')
  const path = join(directory, 'qemu-io-history')
  return {
    read: () => fs.readFileSync(path, 'utf8'),
    append(text) {
      fs.mkdirSync(directory, { recursive: true, mode: 0o700 })
      fs.appendFileSync(path, text, { mode: 0o600 })
    },
    replace(text) {
      const own = `${path}.${process.pid}`
      fs.writeFileSync(own, text, { mode: 0o600 })
      fs.renameSync(own, path)
    },
  }
}

/** An entry that is a link to a directory counts as one. */
function listDirectory(path: string): readonly Entry[] {
  try {
    const isDirectory = (entry: Dirent): boolean =>
      entry.isDirectory() ||
      (entry.isSymbolicLink() &&
        fs.statSync(`${path}${entry.name}`, { throwIfNoEntry: false })?.isDirectory() === true)
    return fs
      .readdirSync(path || '.', { withFileTypes: true })
      .map((entry) => ({ name: entry.name, isDirectory: isDirectory(entry) }))
  } catch {
    return []
  }
}

const isTerminal = (fd: number): boolean =>
  isCharacterDevice(fd) && (fd === 0 ? process.stdin.isTTY : process.stdout.isTTY) === true

async function run(program: Program, argv: readonly string[], output: TextOutput): Promise<number> {
  const { FORMATS, main, programEnvironment, runScratch } = program
  // A request that a breakpoint holds is nothing that Node waits for; its command has not ended, though.
  setInterval(() => undefined, LONGEST_TIMER)
  const start = process.hrtime.bigint()
  const services: Services = {
    environment: programEnvironment,
    formats: FORMATS,
    now: () => Number(process.hrtime.bigint() - start),
    sleep,
    readFile,
    raise,
    listDirectory,
  }
  const input = commandInput(program, (text) => {
    output.print(text)
    output.flush()
  })
  const streams = { output, input, isWatched: isTerminal(0) && isTerminal(1) }
  if (argv[0] !== '--scratch') return main(argv, streams, services)
  const [os, path] = await Promise.all([import('node:os'), import('node:path')])
  const scratchDirectories: ScratchDirectories = {
    directories: [await stateDirectory(), path.join(os.tmpdir(), 'vmblock')],
    join: (directory, name) => path.join(directory, name),
    exists: (name) => fs.existsSync(name),
    makeDirectory: (name) => void fs.mkdirSync(name, { recursive: true }),
  }
  return runScratch(argv.slice(1), streams, services, scratchDirectories)
}

launch<Program>({ bin: __filename, require, name: 'qemu-io', run })
