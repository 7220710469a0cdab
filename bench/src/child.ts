/**
 * Runs a program and tells what it took: wall clock, and processor time of it and its children. Node tells no
 * processor time of children, so bash's `time` does.
 */
import { spawn } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { atExit } from './cleanup.ts'

/** A program and its arguments. */
export interface Command {
  readonly file: string
  readonly args: readonly string[]
  /** A file to read standard input from; nothing by default. */
  readonly stdin?: string | undefined
  /** Variables beside those of this process. */
  readonly env?: Readonly<Record<string, string>>
}

/** What a run took and said. Times in seconds, to the millisecond. */
export interface Outcome {
  readonly wall: number
  /** User and system time of the program and what it started. */
  readonly cpu: number
  readonly stdout: string
}

/** A program ended badly. */
export class ProgramFailure extends Error {
  override readonly name = 'ProgramFailure'
}

/** Its own report goes to a descriptor of its own, so that the program's output stays as it is. */
const TIMER = 'TIMEFORMAT="%R %U %S"; { time "$@" 2>&4; } 4>&2 2>&3'

/** What a command line looks like, for messages. */
export const commandText = ({ file, args }: Command): string =>
  [file, ...args].map((word) => (/^[\w./:=,@+-]+$/.test(word) ? word : `'${word}'`)).join(' ')

/**
 * Runs a program to its end. It is a process group of its own, ended with us.
 *
 * @throws ProgramFailure when it ends with another status than 0
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
