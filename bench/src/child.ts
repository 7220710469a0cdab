/**
 * Runs a program and measures it: wall clock, and processor time of the program and its children. Node.js
 * does not report the processor time of children, so bash's `time` measures it.
 */
import { spawn } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { atExit } from './cleanup.ts'

/** A program and its arguments. */
export interface Command {
  readonly file: string
  readonly args: readonly string[]
  /** A file to read standard input from; empty input by default. */
  readonly stdin?: string | undefined
  /** Variables in addition to those of this process. */
  readonly env?: Readonly<Record<string, string>>
}

/** The times and output of a run. Times in seconds, to the millisecond. */
export interface Outcome {
  readonly wall: number
  /** User and system time of the program and its children. */
  readonly cpu: number
  readonly stdout: string
}

/** A program failed. */
export class ProgramFailure extends Error {
  override readonly name = 'ProgramFailure'
}

/** The report of `time` goes to a separate descriptor, so that the program's output stays unchanged. */
const TIMER = 'TIMEFORMAT="%R %U %S"; { time "$@" 2>&4; } 4>&2 2>&3'

/** A command line as text, for messages. */
export const commandText = ({ file, args }: Command): string =>
  [file, ...args].map((word) => (/^[\w./:=,@+-]+$/.test(word) ? word : `'${word}'`)).join(' ')

/**
 * Runs a program to its end. It has a process group of its own, which is killed when this process ends.
 *
 * @throws ProgramFailure when it ends with a status other than 0
 */
export async function runTimed(command: Command): Promise<Outcome> {
  const stdin = command.stdin === undefined ? undefined : openSync(command.stdin, 'r')
  const child = spawn('bash', ['-c', TIMER, 'bash', command.file, ...command.args], {
    detached: true,
    stdio: [stdin ?? 'ignore', 'pipe', 'pipe', 'pipe'],
    env: { ...process.env, LC_ALL: 'C', ...command.env },
  })
  const forget = atExit(() => {
    if (child.pid !== undefined && child.exitCode === null) process.kill(-child.pid, 'SIGKILL')
  })
  const texts = ['', '', '']
  for (const [index, stream] of child.stdio.slice(1).entries()) {
    const readable = stream as NodeJS.ReadableStream
    readable.setEncoding('utf8')
    readable.on('data', (text: string) => {
      texts[index] += text
    })
  }
  try {
    const status = await new Promise<number>((resolve, reject) => {
      child.on('error', reject)
      child.on('close', (code) => resolve(code ?? 1))
    })
    const [stdout = '', stderr = '', times = ''] = texts
    if (status !== 0)
      throw new ProgramFailure(`${commandText(command)} ended with ${status}: ${(stderr || stdout).trim()}`)
    const [wall = Number.NaN, user = Number.NaN, system = Number.NaN] = times.trim().split(/\s+/).map(Number)
    return { wall, cpu: user + system, stdout }
  } finally {
    forget()
    if (stdin !== undefined) closeSync(stdin)
  }
}
