#!/usr/bin/env node
/** The process around the program: arguments, streams, signals and exit status. Nothing else touches `process`. */
import fs from 'node:fs'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import vm from 'node:vm'
import type { CommandInput, Services } from './main.ts'
import type { ScratchPlaces } from './scratch.ts'

type Program = typeof import('./program.ts')

/** The program, and what is left to do for the next start once this one is over. */
interface Loaded {
  readonly program: Program
  keep(): void
}

/**
 * Loads the program with its compiled code. Scripts start it thousands of times, and compiling is most of what
 * a start costs. The code is kept beside the program, where whoever may change it may change the program too.
 * V8 refuses code of another version, but of the source it compares no more than the length: hence the name.
 */
function loadProgram(): Loaded {
  const directory = fileURLToPath(new URL('.', import.meta.url))
  const path = `${directory}program.cjs`
  const { mtimeMs, size } = fs.statSync(path)
  const cachePath = `${path}.${process.version}-${process.arch}-${size}-${mtimeMs}.cache`
  const source = `(function (exports, require, module) {${fs.readFileSync(path, 'latin1')}\n})`
  let cachedData: Buffer | undefined
  try {
    cachedData = fs.readFileSync(cachePath)
  } catch {
    // The first start.
  }
  const script = new vm.Script(source, {
    filename: path,
    ...(cachedData && { cachedData }),
    importModuleDynamically: vm.constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
  })
  const module = { exports: {} as Program }
  script.runInThisContext()(module.exports, createRequire(path), module)
  return {
    program: module.exports,
    keep() {
      if (cachedData && !script.cachedDataRejected) return
      const own = `${cachePath}.${process.pid}`
      try {
        fs.writeFileSync(own, script.createCachedData())
        for (const name of fs.readdirSync(directory)) {
          if (/^program\.cjs\..*\.cache$/.test(name)) fs.rmSync(`${directory}${name}`, { force: true })
        }
        fs.renameSync(own, cachePath)
      } catch {
        // A place that may not be written: the next start compiles again.
      }
    },
  }
}

/** Writes all of a text now: what is printed must be out when the process dies by a signal. */
function writeNow(fd: number, text: string): void {
  const bytes = Buffer.from(text)
  for (let done = 0; done < bytes.length; ) {
    try {
      done += fs.writeSync(fd, bytes, done)
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      // A full pipe that does not block is tried again; a reader that has gone is no error of ours, as in QEMU.
      if (code !== 'EAGAIN') return
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1)
    }
  }
}

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

/** Signals that QEMU's event loop takes or ignores (USR1, PIPE, ALRM, IO), and those of the C library's threads. */
const HANDLED = new Set([0, 10, 13, 14, 29, 32, 33])
const LAST_SIGNAL = 64

function raise(signal: number): void {
  if (HANDLED.has(signal) || signal > LAST_SIGNAL) return
  process.kill(process.pid, signal)
}

/** Standard input that is no terminal, as it comes. Reading is what is asked for, and no more. */
async function* readInput(): AsyncGenerator<Uint8Array> {
  const buffer = new Uint8Array(65536)
  for (;;) {
    const result = await new Promise<number | NodeJS.ErrnoException>((resolve) => {
      fs.read(0, buffer, 0, buffer.length, null, (error, bytes) => resolve(error ?? bytes))
    })
    if (result === 0) return
    if (typeof result === 'number') yield buffer.slice(0, result)
    // A pipe that does not block has to be waited for by other means.
    else if (result.code === 'EAGAIN') return yield* process.stdin
    else return
  }
}

/** The lines of standard input; readline is loaded for terminals alone. */
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

/** Whether a stream is a character device; asking the tty module costs more than being wrong about /dev/null. */
function isCharacterDevice(fd: number): boolean {
  try {
    return fs.fstatSync(fd).isCharacterDevice()
  } catch {
    return false
  }
}

const isTerminal = (fd: number): boolean =>
  isCharacterDevice(fd) && (fd === 0 ? process.stdin.isTTY : process.stdout.isTTY) === true

async function run(program: Program, argv: readonly string[]): Promise<number> {
  const { bufferedOutput, FORMATS, main, nodeEnvironment, runScratch } = program
  const output = bufferedOutput(
    (text) => writeNow(1, text),
    (text) => writeNow(2, text),
    isCharacterDevice(1),
  )
  const start = process.hrtime.bigint()
  const services: Services = {
    environment: nodeEnvironment,
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
  const places: ScratchPlaces = {
    directories: [path.join(state, 'vmblock'), path.join(os.tmpdir(), 'vmblock')],
    join: (directory, name) => path.join(directory, name),
    exists: (name) => fs.existsSync(name),
    makeDirectory: (name) => void fs.mkdirSync(name, { recursive: true }),
  }
  return runScratch(argv.slice(1), streams, services, places)
}

const { program, keep } = loadProgram()
run(program, process.argv.slice(2)).then(
  (status) => {
    keep()
    process.exit(status)
  },
  (error: unknown) => {
    writeNow(2, `qemu-io: ${error instanceof Error ? error.message : String(error)}\n`)
    process.exit(1)
  },
)
