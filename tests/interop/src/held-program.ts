/**
 * qemu-io, QEMU's and ours, held at its prompt while other programs try the same files; and the locked bytes
 * of a file.
 * @module
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll } from 'vitest'
import { buildProgram, type ProgramName } from '../../support/built-program.ts'
import { type Bench, openBench } from '../../support/real-qemu.ts'

/** How to start a program. */
export type Start = readonly [program: string, ...first: string[]]

/** Our programs, built as they are shipped. */
export interface OurPrograms {
  readonly io: Start
  readonly img: Start
}

/**
 * Builds our programs into a directory.
 *
 * @param koffi whether they can load the library that makes system calls
 */
export async function buildPrograms(directory: string, koffi: boolean): Promise<OurPrograms> {
  const start = async (name: ProgramName): Promise<Start> => {
    const outdir = join(directory, koffi ? 'with' : 'without', name)
    return [process.execPath, await buildProgram(name, outdir, koffi)]
  }
  return { io: await start('qemu-io-ts'), img: await start('qemu-img-ts') }
}

/** QEMU's programs. */
export const REAL = { io: ['qemu-io'], img: ['qemu-img'] } as const satisfies OurPrograms

/**
 * Makes a directory for the tests of a file, and the programs of both sides; ours are built before the first
 * test.
 */
export function useBothPrograms(koffi: boolean): {
  readonly workshop: Bench
  readonly programs: { readonly ours: OurPrograms; readonly real: OurPrograms }
} {
  const workshop = openBench()
  const programs = { ours: REAL as OurPrograms, real: REAL }
  beforeAll(async () => {
    programs.ours = await buildPrograms(workshop.directory, koffi)
  })
  afterAll(() => workshop.remove())
  return { workshop, programs }
}

/** Without the paths that package managers give to tests: with them, every program would find koffi. */
const { NODE_PATH: _, ...ENVIRONMENT } = process.env

const run = ([program, ...first]: Start, args: readonly string[], cwd: string) =>
  spawnSync(program, [...first, ...args], { cwd, env: ENVIRONMENT, encoding: 'utf8', input: '' })

/** Runs a program to its end. @returns its exit status, and its error output, without the program's name */
export function attempt(
  start: Start,
  args: readonly string[],
  cwd: string,
): { readonly status: number | null; readonly complaint: string } {
  const { status, stderr } = run(start, args, cwd)
  return { status, complaint: stderr.replace(/^qemu-\w+: /gm, '') }
}

/** Runs a program that has to succeed. @returns what it printed */
export function printed(start: Start, args: readonly string[], cwd: string): string {
  const { status, stderr, stdout } = run(start, args, cwd)
  if (status !== 0) throw new Error(`${args.join(' ')} ends with ${status}: ${stderr}`)
  return stdout
}

const PROMPT = 'qemu-io> '

/** A qemu-io that waits for commands. */
export class HeldProgram {
  readonly #child: ChildProcess
  #said = ''
  #prompts = 0
  #wake: (() => void) | undefined
  readonly #closed: Promise<void>

  constructor([program, ...first]: Start, args: readonly string[], cwd: string) {
    // Both outputs in one pipe, so that errors come before the next prompt.
    const line = ['-c', 'exec "$0" "$@" 2>&1', program, ...first, ...args]
    this.#child = spawn('/bin/sh', line, { cwd, env: ENVIRONMENT, stdio: ['pipe', 'pipe', 'inherit'] })
    this.#child.stdout!.setEncoding('utf8').on('data', (text: string) => {
      this.#said += text
      this.#wake?.()
    })
    this.#closed = new Promise((resolve) => this.#child.on('close', () => resolve(this.#wake?.())))
  }

  /** Waits for the prompt after the last command, or for the end. @returns all output since then */
  async prompt(): Promise<string> {
    this.#prompts++
    const isThere = (): boolean => this.#said.split(PROMPT).length > this.#prompts
    while (!isThere() && this.#child.exitCode === null)
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    return this.#said.split(PROMPT)[this.#prompts - 1] ?? ''
  }

  /** Runs a command. @returns its output */
  async command(line: string): Promise<string> {
    this.#child.stdin!.write(`${line}\n`)
    return this.prompt()
  }

  async end(): Promise<void> {
    this.#child.stdin!.end('quit\n')
    await this.#closed
  }

  /** Crashes the program. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL')
    await this.#closed
  }
}

/** Starts a qemu-io and waits for its first prompt. */
export async function hold(start: Start, args: readonly string[], cwd: string): Promise<HeldProgram> {
  const program = new HeldProgram(start, args, cwd)
  await program.prompt()
  return program
}

/** The bytes of a file that are locked through open file descriptions, according to Linux. */
export function lockedBytes(path: string): number[] {
  const inode = String(statSync(path).ino)
  const bytes = new Set<number>()
  for (const line of readFileSync('/proc/locks', 'utf8').split('\n')) {
    const [, kind, , , , fileId = '', start, end] = line.trim().split(/\s+/)
    if (kind !== 'OFDLCK' || fileId.split(':')[2] !== inode) continue
    for (let byte = Number(start); byte <= Number(end); byte++) bytes.add(byte)
  }
  return [...bytes].sort((a, b) => a - b)
}
