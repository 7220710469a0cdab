/**
 * The process around a program: its compiled code, its output, its end. Only the `bin.ts` of a program loads this,
 * and with the program itself in another file.
 * @module
 */
import type { TextOutput, WriteNow } from './buffered-output.ts'

// As little as possible is loaded before the program's own compiled code.
const fs = process.getBuiltinModule('node:fs')
const vm = process.getBuiltinModule('node:vm')
const { dirname, join } = process.getBuiltinModule('node:path')

/**
 * Threads of Node's pool, if the user does not say. Four, as by default, leave a disk idle that takes many requests at once
 * (O_DIRECT, 64 reads at once: 4 threads take 1.5 times as long); more than these cost more than they bring.
 */
const POOL_THREADS = '16'

/**
 * How much of a function V8 interprets before it optimizes it, in bytes of bytecode: several times its default, with
 * which a program that runs for a fifth of a second spends a third of that in compilers.
 */
const INTERRUPT_BUDGET = 500_000
/** The V8 of Node 20 alone: later ones compile in more steps, and count otherwise. */
const EAGER_V8 = '11.'

/** What a program's code must bring along for {@link launch}. */
export interface ProgramCode {
  bufferedOutput(out: WriteNow, error: WriteNow, terminal: boolean, errorTerminal: boolean): TextOutput
}

/** What to start. */
export interface Launch<P extends ProgramCode> {
  /** Path of the program's `bin.cjs`, beside which `program.cjs` lies. */
  readonly bin: string
  /**
   * What is asked of the program, where that decides which of its code runs. Each has compiled code of its own: what
   * others need would have to be read, too.
   */
  readonly command?: string | undefined
  /** What messages begin with: `qemu-io`. */
  readonly name: string
  /** It is soon over, and every millisecond of its start counts. */
  readonly isBrief?: boolean
  /** The `require` of `bin.cjs`. */
  readonly require: NodeJS.Require
  /** Runs the program. @returns the exit status */
  run(program: P, argv: readonly string[], output: TextOutput): Promise<number>
}

/** The program, and what is left to do for the next start once this one is over. */
interface Loaded<P> {
  readonly program: P
  keep(): void
}

/**
 * Loads the program with its compiled code. Scripts start it thousands of times, and compiling is most of what
 * a start costs. The code is kept beside the program, where whoever may change it may change the program too.
 * V8 refuses code of another version, but of the source it compares no more than the length: hence the name.
 */
function loadProgram<P>({ bin, require, command }: Omit<Launch<ProgramCode>, 'run'>): Loaded<P> {
  const directory = dirname(bin)
  const path = join(directory, 'program.cjs')
  const { mtimeMs, size } = fs.statSync(path)
  const current = `${process.version}-${process.arch}-${size}-${mtimeMs}.cache`
  const cachePath = `${path}.${command === undefined ? '' : `${command}.`}${current}`
  const cachedData = readIfThere(cachePath)
  // Latin-1 is what V8 keeps without converting; the bundler writes everything else as escapes.
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
        // A place that may not be written: the next start compiles again.
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

/** Writes all of a text now: what is printed must be out when the process dies by a signal. */
export function writeNow(fd: number, text: string): void {
  const bytes = bytesOf(text)
  for (let done = 0; done < bytes.length; ) {
    try {
      done += fs.writeSync(fd, bytes, done)
    } catch (error) {
      // A full pipe that does not block is tried again; a reader that has gone is no error of ours, as in QEMU.
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') return
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1)
    }
  }
}

/** Names of files that are no UTF-8 have their bytes as lone surrogates: they go out as they are, as from QEMU. */
const bytesOf = (text: string): Buffer =>
  /[\udc80-\udcff]/u.test(text)
    ? Buffer.concat(
        text
          .split(/([\udc80-\udcff]+)/u)
          .map((part, index) => (index % 2 === 0 ? Buffer.from(part) : Buffer.from(part, 'latin1'))),
      )
    : Buffer.from(text)

/** Whether a stream is a character device; asking the tty module costs more than being wrong about /dev/null. */
export function isCharacterDevice(fd: number): boolean {
  try {
    return fs.fstatSync(fd).isCharacterDevice()
  } catch {
    return false
  }
}

/** Runs a program on the arguments and streams of this process, and ends the process with its status. */
export function launch<P extends ProgramCode>({ run, ...launched }: Launch<P>): void {
  // Read when the pool is first used; the loader of ES modules would have done so before this.
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
      // A command that does not exist leaves nothing behind.
      if (status !== 1 || command === undefined) keep()
      process.exit(status)
    },
    (error: unknown) => {
      output.error(`${name}: ${error instanceof Error ? error.message : String(error)}\n`)
      process.exit(1)
    },
  )
}
