/** The programs as separate processes, with little memory and a time limit. */
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

/** Mebibytes of heap for a program; byte arrays are not on the heap, but are counted. */
const HEAP = 128
/** Milliseconds after which a program is killed. */
const TIMEOUT = 240_000

/** The outcome of a process, and the beginning of its output. */
export interface Ended {
  readonly out: string
  readonly err: string
  /** Null if a signal ended the process, for example at the timeout. */
  readonly status: number | null
  /** Bytes of memory at the peak. */
  readonly peak: number
}

/** Both programs, built as they are shipped, in a directory for images. */
export interface Programs {
  readonly directory: string
  path(name: string): string
  /** Writes an image. On a file system without files of that size it gets the largest possible size. */
  write(name: string, image: Pick<Hostile, 'bytes' | 'fileSize'>): void
  run(program: ProgramName, words: readonly string[]): Ended
  /** The same on a terminal. @returns the output to the terminal; undefined if none can be made */
  runOnTerminal(program: ProgramName, words: readonly string[]): string | undefined
  remove(): void
}

/** Bytes of a program's output that are examined. */
const LOOKED_AT = 2 ** 20

function beginningOf(fd: number): string {
  const bytes = Buffer.alloc(LOOKED_AT)
  return bytes.toString('utf8', 0, readSync(fd, bytes, 0, bytes.length, 0))
}

/** Reports the peak memory of the process to the parent, on a pipe of its own. */
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
      // Into files: a check that finds millions of errors prints each.
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
