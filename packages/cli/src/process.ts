/**
 * Runs a program in this process: loads its compiled code, connects its output, exits with its status. Only
 * the `bin.ts` of a program imports this; the program itself is in another file.
 * @module
 */
import type { TextOutput, WriteNow } from './text/buffered-output.ts'

// Load as little as possible before the program's own compiled code.
const fs = process.getBuiltinModule('node:fs')
const vm = process.getBuiltinModule('node:vm')
const { dirname, join } = process.getBuiltinModule('node:path')

/**
 * Threads in Node's pool, unless the user sets a number. Node's default of four cannot keep a disk busy that
 * takes many requests at once (O_DIRECT, 64 reads at once: 4 threads take 1.5 times as long); more threads
 * cost more than they gain.
 */
const POOL_THREADS = '16'

/**
 * The amount of bytecode, in bytes, that V8 interprets of a function before it optimizes it: several times
 * the default, with which a program that runs for a fifth of a second spends a third of that time in
 * compilers.
 */
const INTERRUPT_BUDGET = 500_000
/** Only the V8 of Node 20: later ones compile in more tiers, and count differently. */
const EAGER_V8 = '11.'

/** The exports of a program that {@link launch} needs. */
export interface ProgramCode {
  bufferedOutput(out: WriteNow, error: WriteNow, terminal: boolean, errorTerminal: boolean): TextOutput
}

/** The program to launch. */
export interface Launch<P extends ProgramCode> {
  /** Path of the program's `bin.cjs`, beside which `program.cjs` lies. */
  readonly bin: string
  /**
   * The subcommand, if it decides which of the program's code runs. Each has its own code cache: a shared one
   * would also hold the code of the others.
   */
  readonly command?: string | undefined
  /** The prefix of messages: `qemu-io`. */
  readonly name: string
  /** Whether the run is short, so that every millisecond of startup counts. */
  readonly isBrief?: boolean
  /** The `require` of `bin.cjs`. */
  readonly require: NodeJS.Require
  /** Runs the program. @returns the exit status */
  run(program: P, argv: readonly string[], output: TextOutput): Promise<number>
}

/** The loaded program, and a function that saves its compiled code for the next start. */
interface Loaded<P> {
  readonly program: P
  keep(): void
}

/**
 * Loads the program with its cached compiled code. Scripts start it thousands of times, and compiling is most
 * of the cost of a start. The cache lies beside the program: anyone who can change it can change the program
 * too. V8 rejects code of another version, but compares only the length of the source: hence the file name.
 */
function loadProgram<P>({ bin, require, command }: Omit<Launch<ProgramCode>, 'run'>): Loaded<P> {
  const directory = dirname(bin)
  const path = join(directory, 'program.cjs')
  const { mtimeMs, size } = fs.statSync(path)
  const current = `${process.version}-${process.arch}-${size}-${mtimeMs}.cache`
  const cachePath = `${path}.${command === undefined ? '' : `${command}.`}${current}`
  const cachedData = readIfThere(cachePath)
  // V8 keeps Latin-1 without converting it; the bundler escapes all other characters.
  const source = `(function (exports, require, module, __filename) {${fs.readFileSync(path, 'latin1')}\n})`
  const script = new vm.Script(source, {
    filename: path,
    ...(cachedData && { cachedData }),
    importModuleDynamically: vm.constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
  })
  const module = { exports: {} as P }
  script.runInThisContext()(module.exports, require, module, path)
  return {
    program: module.exports,
    keep() {
      if (cachedData && !script.cachedDataRejected) return
      const own = `${cachePath}.${process.pid}`
      try {
        fs.writeFileSync(own, script.createCachedData())
        for (const name of fs.readdirSync(directory)) {
          if (/^program\.cjs\..*\.cache$/.test(name) && !name.endsWith(current))
            fs.rmSync(join(directory, name), { force: true })
        }
        fs.renameSync(own, cachePath)
      } catch {
        // The directory is not writable: the next start compiles again.
      }
    },
  }
}

function readIfThere(path: string): Buffer | undefined {
  try {
    return fs.readFileSync(path)
  } catch {
    return undefined
  }
}

/** Writes all of a text synchronously: printed text must be out when a signal kills the process. */
export function writeNow(fd: number, text: string): void {
  const bytes = bytesOf(text)
  for (let done = 0; done < bytes.length; ) {
    try {
      done += fs.writeSync(fd, bytes, done)
    } catch (error) {
      // A full non-blocking pipe is retried; a closed reader is not an error, as in QEMU.
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') return
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1)
    }
  }
}

/**
 * Lone surrogates stand for bytes of names that are not UTF-8; they are written as these bytes, as by QEMU.
 */
const bytesOf = (text: string): Buffer =>
  /[\udc80-\udcff]/u.test(text)
    ? Buffer.concat(
        text
          .split(/([\udc80-\udcff]+)/u)
          .map((part, index) => (index % 2 === 0 ? Buffer.from(part) : Buffer.from(part, 'latin1'))),
      )
    : Buffer.from(text)

/** Whether a stream is a character device. The tty module would tell /dev/null apart, but costs more. */
export function isCharacterDevice(fd: number): boolean {
  try {
    return fs.fstatSync(fd).isCharacterDevice()
  } catch {
    return false
  }
}

/** Runs a program with the arguments and streams of this process, and ends the process with its status. */
export function launch<P extends ProgramCode>({ run, ...launched }: Launch<P>): void {
  // Read when the pool is first used; the ES module loader would have used it before this line.
  process.env['UV_THREADPOOL_SIZE'] ??= POOL_THREADS
  const { name, command, isBrief } = launched
  if (!isBrief && process.versions.v8.startsWith(EAGER_V8))
    process.getBuiltinModule('node:v8').setFlagsFromString(`--interrupt-budget=${INTERRUPT_BUDGET}`)
  const { program, keep } = loadProgram<P>(launched)
  const output = program.bufferedOutput(
    (text) => writeNow(1, text),
    (text) => writeNow(2, text),
    isCharacterDevice(1),
    isCharacterDevice(2),
  )
  run(program, process.argv.slice(2), output).then(
    (status) => {
      // No cache for a command that does not exist.
      if (status !== 1 || command === undefined) keep()
      process.exit(status)
    },
    (error: unknown) => {
      output.error(`${name}: ${error instanceof Error ? error.message : String(error)}\n`)
      process.exit(1)
    },
  )
}
