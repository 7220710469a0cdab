#!/usr/bin/env node
/** The process around the program: arguments, streams, signals and exit status. Nothing else touches `process`. */
import type { Streams } from './output.ts'

type Program = typeof import('./program.ts')

// An `import` of these would make Node look at everything they export, and so load the streams, which costs more
// than a command needs.
const fs = process.getBuiltinModule('node:fs')
const vm = process.getBuiltinModule('node:vm')
const { createRequire } = process.getBuiltinModule('node:module')
const { fileURLToPath } = process.getBuiltinModule('node:url')

/** The program, and what is left to do for the next start once this one is over. */
interface Loaded {
  readonly program: Program
  keep(): void
}

/**
 * Loads the program with its compiled code. Scripts start it thousands of times, and compiling is most of what
 * a start costs. The code is kept beside the program, where whoever may change it may change the program too;
 * V8 refuses code of another version or source.
 */
function loadProgram(): Loaded {
  const path = fileURLToPath(new URL('./program.cjs', import.meta.url))
  const cachePath = `${path}.${process.version}-${process.arch}.cache`
  const cachedData = readIfThere(cachePath)
  // Latin-1 is what V8 keeps without converting; the bundler writes everything else as escapes.
  const source = `(function (exports, require, module) {${fs.readFileSync(path, 'latin1')}\n})`
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

/** Writes all of a text. */
function writeNow(fd: number, text: string): void {
  const bytes = Buffer.from(text)
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

/** What C's library takes for a pipe or file. */
const BUFFER = 4096

/** Standard output is held back as C's stdio does it: scripts compare files that take both streams. */
function processStreams(): Streams {
  const lines = isTerminal(1)
  let held = ''
  const flush = (): void => {
    const text = held
    held = ''
    if (text !== '') writeNow(1, text)
  }
  return {
    out(text) {
      held += text
      if (held.length > BUFFER || (lines && text.includes('\n'))) flush()
    },
    err: (text) => writeNow(2, text),
    flush,
  }
}

/** Whether a stream is a character device; asking the tty module costs more than being wrong about /dev/null. */
function isTerminal(fd: number): boolean {
  try {
    return fs.fstatSync(fd).isCharacterDevice()
  } catch {
    return false
  }
}

function run({ main, nodeDrivers }: Program, argv: readonly string[]): Promise<number> {
  const streams = processStreams()
  const drivers = nodeDrivers({
    readText: (path) => fs.promises.readFile(path, 'utf8'),
    print: (line) => streams.out(`${line}\n`),
  })
  return main(argv, streams, {
    ...drivers,
    removeFile: (path) => fs.promises.unlink(path),
    realPath: (path) => fs.promises.realpath(path).catch(() => undefined),
    onProgressRequest(listener) {
      process.on('SIGUSR1', listener)
      return () => process.off('SIGUSR1', listener)
    },
  })
}

const { program, keep } = loadProgram()
run(program, process.argv.slice(2)).then(
  (status) => {
    keep()
    process.exit(status)
  },
  (error: unknown) => {
    writeNow(2, `qemu-img: ${error instanceof Error ? error.message : String(error)}\n`)
    process.exit(1)
  },
)
