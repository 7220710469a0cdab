/** The programs as processes of their own, with little memory and a limit of time. */
import { spawnSync } from 'node:child_process'
import {
  closeSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buildProgram, type ProgramName } from '../../support/built-program.ts'
import type { Hostile } from './mutate.ts'

const PROGRAMS = ['qemu-img-ts', 'qemu-io-ts'] as const

/** Mebibytes of heap that a program gets; arrays of bytes are not on it, and are counted. */
const HEAP = 128
/** Milliseconds after which a program is ended. */
const TIMEOUT = 240_000

/** What a process did, and the beginning of what it said. */
export interface Ended {
  readonly out: string
  readonly err: string
  /** Null if it was ended by a signal, as for taking too long. */
  readonly status: number | null
  /** Bytes of memory that it had at the most. */
  readonly peak: number
}

/** Both programs, built as they are shipped, in a directory for images. */
export interface Programs {
  readonly directory: string
  path(name: string): string
  /** Puts an image there. A file system that has no files of its size gets the largest it has. */
  write(name: string, image: Pick<Hostile, 'bytes' | 'fileSize'>): void
  run(program: ProgramName, words: readonly string[]): Ended
  /** The same on a terminal. @returns what the terminal got; undefined where there is no way to make one */
  runOnTerminal(program: ProgramName, words: readonly string[]): string | undefined
  remove(): void
}

/** Bytes of what a program said that are looked at. */
const LOOKED_AT = 2 ** 20

function beginningOf(fd: number): string {
  const bytes = Buffer.alloc(LOOKED_AT)
  return bytes.toString('utf8', 0, readSync(fd, bytes, 0, bytes.length, 0))
}

/** Tells the parent, on a pipe of its own, how much memory the process took. */
const REPORT = `process.on('exit', () => require('node:fs').writeSync(3, String(process.resourceUsage().maxRSS)))`

/** Builds the programs; `remove` them when the tests are done. */
export async function buildPrograms(): Promise<Programs> {
  const directory = mkdtempSync(join(tmpdir(), 'vmblock-'))
  const bin = (program: ProgramName): string => join(directory, program, 'bin.cjs')
  for (const program of PROGRAMS) await buildProgram(program, join(directory, program))
  const report = join(directory, 'report.cjs')
  writeFileSync(report, REPORT)
  const path = (name: string): string => join(directory, name)
  return {
    directory,
    path,
    write(name, { bytes, fileSize }) {
      const fd = openSync(path(name), 'w')
      writeSync(fd, bytes, 0, bytes.length, 0)
      for (let size = fileSize; size > bytes.length; size = Math.floor(size / 2)) {
        try {
          ftruncateSync(fd, size)
          break
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code !== 'EFBIG') throw error
        }
      }
    },
    run(program, words) {
      const argv = [`--max-old-space-size=${HEAP}`, '--require', report, bin(program), ...words]
      // Into files: a check that finds millions of errors says so of each.
      const said = ['out', 'err'].map((name) => openSync(path(name), 'w+'))
      try {
        const { status, output } = spawnSync(process.execPath, argv, {
          cwd: directory,
          stdio: ['ignore', ...said, 'pipe'],
          timeout: TIMEOUT,
          killSignal: 'SIGKILL',
        })
        const [out = '', err = ''] = said.map(beginningOf)
        return { out, err, status, peak: Number(output[3]) * 1024 }
      } finally {
        for (const fd of said) closeSync(fd)
      }
    },
    runOnTerminal(program, words) {
      const command = [process.execPath, bin(program), ...words].map((word) => `'${word}'`).join(' ')
      const { status, stdout, error } = spawnSync('script', ['-qec', command, '/dev/null'], {
        cwd: directory,
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
      })
      return error || status === null ? undefined : stdout.replaceAll('\r\n', '\n')
    },
    remove: () => rmSync(directory, { recursive: true, force: true }),
  }
}
