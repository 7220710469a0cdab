/** Runs the same command lines through QEMU's qemu-img and through ours, each in a directory of its own. */
import { execFileSync, spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import process from 'node:process'
import type { Services } from '../command.ts'
import { nodeDrivers } from '../drivers.ts'
import { main } from '../main.ts'

/** What a program said, and its exit status. */
export interface Said {
  readonly out: string
  readonly err: string
  readonly status: number
}

/** Whether QEMU's programs are installed. Where REQUIRE_QEMU is set they must be. */
export function hasQemu(): boolean {
  const found = ['qemu-img', 'qemu-io'].every((name) => spawnSync(name, ['--version']).error === undefined)
  if (!found && process.env['REQUIRE_QEMU']) throw new Error('REQUIRE_QEMU is set, and qemu-img is missing')
  return found
}

/** Services of the process that runs the tests. */
export function processServices(print: (line: string) => void = () => {}): Services {
  return {
    ...nodeDrivers({ readText: (name) => fs.promises.readFile(name, 'utf8'), print }),
    removeFile: (name) => fs.promises.unlink(name),
    realPath: (name) => fs.promises.realpath(name).catch(() => undefined),
  }
}

/** Runs our program in this process, in its working directory. */
export async function runOurs(words: readonly string[]): Promise<Said> {
  let out = ''
  let err = ''
  const streams = {
    out: (text: string) => void (out += text),
    err: (text: string) => void (err += text),
    flush: () => {},
  }
  const status = await main(words, streams, processServices())
  return { out, err, status }
}

/** Words of a line, with quotes as in a shell. */
export const splitWords = (line: string): string[] =>
  [...line.matchAll(/'([^']*)'|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain!)

/** Two directories with the same content, one for each program. */
export class TwoPrograms {
  readonly #root = fs.mkdtempSync(path.join(os.tmpdir(), 'qemu-img-ts-'))
  readonly #home = process.cwd()
  readonly theirs = path.join(this.#root, 'theirs')
  readonly ours = path.join(this.#root, 'ours')

  constructor() {
    fs.mkdirSync(this.theirs)
    fs.mkdirSync(this.ours)
    process.chdir(this.ours)
  }

  /** Runs a command line of qemu-img through both. */
  async img(line: string): Promise<{ readonly theirs: Said; readonly ours: Said }> {
    const words = splitWords(line)
    const { stdout, stderr, status } = spawnSync('qemu-img', words, { cwd: this.theirs, encoding: 'utf8' })
    const theirs = { out: stdout, err: stderr, status: status ?? -1 }
    return { theirs, ours: await runOurs(words) }
  }

  /** Runs QEMU's qemu-img for both: what is then compared does not depend on our own writing. */
  qemuImg(line: string): void {
    this.each((cwd) => execFileSync('qemu-img', splitWords(line), { cwd }))
  }

  /** Runs QEMU's qemu-io on the image of each. */
  qemuIo(line: string, format = 'qcow2'): void {
    this.each((cwd) => {
      // Images that a test leaves dirty are abandoned by a signal, so the exit status says nothing.
      spawnSync('qemu-io', ['-f', format, ...splitWords(line)], { cwd })
    })
  }

  /** Does something in both directories. */
  each(act: (directory: string) => void): void {
    act(this.theirs)
    act(this.ours)
  }

  [Symbol.dispose](): void {
    process.chdir(this.#home)
    fs.rmSync(this.#root, { recursive: true, force: true })
  }
}

/** What cannot be the same: how much of a file its host allocates, and where a temporary directory is. */
export const comparable = ({ out, err, status }: Said): Said => ({
  out: out
    .replaceAll(/^disk size: .*$/gm, 'disk size: X')
    .replaceAll(/"actual-size": \d+/g, '"actual-size": X'),
  err,
  status,
})
