/** QEMU's own programs, for tests that compare with them. Tests only: uses Node.js. */
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const installed = spawnSync('qemu-img', ['--version']).status === 0

/** Whether the programs are installed. REQUIRE_QEMU=1 makes their absence an error instead of a skip. */
export const haveQemu: boolean = installed || process.env['REQUIRE_QEMU'] === '1'

/** The result of a program. */
export interface Outcome {
  readonly status: number
  readonly stdout: string
  readonly stderr: string
}

/** A directory for image files, with the programs running in it. */
export interface Bench {
  readonly directory: string
  path(name: string): string
  read(name: string): Uint8Array
  write(name: string, bytes: Uint8Array): void
  /** Runs a program that has to succeed. @returns what it printed */
  run(program: 'qemu-img' | 'qemu-io', ...args: string[]): string
  /** Runs a program that may fail. */
  attempt(program: 'qemu-img' | 'qemu-io', ...args: string[]): Outcome
  remove(): void
}

/** Makes an empty {@link Bench}; `remove` it when the tests are done. */
export function openBench(): Bench {
  const directory = mkdtempSync(join(tmpdir(), 'vmblock-'))
  const path = (name: string): string => join(directory, name)
  return {
    directory,
    path,
    read: (name) => new Uint8Array(readFileSync(path(name))),
    write: (name, bytes) => writeFileSync(path(name), bytes),
    run: (program, ...args) => execFileSync(program, args, { cwd: directory, encoding: 'utf8' }),
    attempt(program, ...args) {
      const options = { cwd: directory, encoding: 'utf8', maxBuffer: 2 ** 28 } as const
      const { status, stdout, stderr } = spawnSync(program, args, options)
      return { status: status ?? -1, stdout, stderr }
    },
    remove: () => rmSync(directory, { recursive: true, force: true }),
  }
}
