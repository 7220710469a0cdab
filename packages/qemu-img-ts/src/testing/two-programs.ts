/** Runs the same command lines with QEMU's qemu-img and with ours, each in its own directory. */
import { execFileSync, spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { programEnvironment } from '@vmblock/cli'
import type { Services } from '../kit/command.ts'
import { main } from '../main.ts'

/** The output of a program, and its exit status. */
export interface Said {
  readonly out: string
  readonly err: string
  readonly status: number
}

/** Whether QEMU's programs are installed. */
export const hasQemu = (): boolean =>
  ['qemu-img', 'qemu-io'].every((name) => spawnSync(name, ['--version']).error === undefined)

/** Services of a Node.js process. */
export const nodeServices = (): Services => ({
  ...programEnvironment({ readText: (name) => fs.promises.readFile(name, 'utf8'), print: () => {} }),
  readFile: (name) => fs.promises.readFile(name),
  realPath: (name) => fs.promises.realpath(name).catch(() => undefined),
})

/** Runs our program in this process. */
export async function runOurs(words: readonly string[], services = nodeServices()): Promise<Said> {
  const said = { out: '', err: '' }
  const streams = {
    print(text: string) {
      said.out += text
    },
    error(text: string) {
      said.err += text
    },
    flush() {},
  }
  const status = await main(words, streams, services)
  return { ...said, status }
}

/** Splits a line into words, with quotes as in a shell. */
const splitWords = (line: string): string[] =>
  [...line.matchAll(/'([^']*)'|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain!)

/** The parts of `process` that tests pass in, and the program may not use. */
interface Home {
  readonly env: Readonly<Record<string, string | undefined>>
  cwd(): string
  chdir(directory: string): void
}

/**
 * Two directories with the same names in them, one for each program. A line is a command line of qemu-img for
 * both programs, unless it begins with one of these:
 *
 * - `made:` QEMU's qemu-img runs in both directories, independently of our own program
 * - `io:FORMAT:` QEMU's qemu-io does so, to put content into images; it may kill itself
 * - `judge:` QEMU's qemu-img runs in both directories, and must print the same for the files of both programs
 * - `held:` as `judge: map`, but compares only whether the image itself holds each run: a format may leave
 *   ranges that it need not write to the file below, or write zeroes there
 * - `copy:` copies a file in both
 * - `remove:` deletes a file in both
 */
export class TwoPrograms {
  readonly #root = fs.mkdtempSync(path.join(os.tmpdir(), 'qemu-img-ts-'))
  readonly #theirs = path.join(this.#root, 'theirs')
  readonly #ours = path.join(this.#root, 'ours')
  readonly #home: Home
  readonly #before: string

  constructor(home: Home) {
    this.#home = home
    this.#before = home.cwd()
    fs.mkdirSync(path.join(this.#theirs, 'sub'), { recursive: true })
    fs.mkdirSync(path.join(this.#ours, 'sub'), { recursive: true })
    home.chdir(this.#ours)
  }

  /** Runs a line. @returns the outputs to compare; undefined for a line that only prepares */
  async run(line: string): Promise<{ readonly theirs: Said; readonly ours: Said } | undefined> {
    const [, verb = 'both', rest = ''] = /^(?:(made|io:\w+|judge|held|copy|remove): )?(.*)$/s.exec(line)!
    const words = splitWords(rest)
    if (verb === 'both')
      return { theirs: this.#qemuImg(this.#theirs, words), ours: comparable(await runOurs(words)) }
    if (verb === 'judge')
      return { theirs: this.#qemuImg(this.#theirs, words), ours: this.#qemuImg(this.#ours, words) }
    if (verb === 'held')
      return { theirs: this.#held(this.#theirs, words), ours: this.#held(this.#ours, words) }
    for (const cwd of [this.#theirs, this.#ours]) {
      if (verb === 'made') execFileSync('qemu-img', words, { cwd })
      else if (verb === 'copy') fs.copyFileSync(path.join(cwd, words[0]!), path.join(cwd, words[1]!))
      else if (verb === 'remove') fs.unlinkSync(path.join(cwd, words[0]!))
      else spawnSync('qemu-io', ['-f', verb.slice(3), ...words], { cwd })
    }
    return undefined
  }

  /** Runs lines in order. @returns the outputs of both programs for each, to compare */
  async runAll(lines: readonly string[]): Promise<{ readonly ours: object[]; readonly theirs: object[] }> {
    const [ours, theirs]: [object[], object[]] = [[], []]
    for (const line of lines) {
      const said = await this.run(line)
      if (!said) continue
      ours.push({ line, ...said.ours })
      theirs.push({ line, ...said.theirs })
    }
    return { ours, theirs }
  }

  /** Puts the same file into both directories. */
  write(name: string, bytes: Uint8Array): void {
    for (const directory of [this.#theirs, this.#ours]) fs.writeFileSync(path.join(directory, name), bytes)
  }

  /** Deletes everything. */
  remove(): void {
    this.#home.chdir(this.#before)
    fs.rmSync(this.#root, { recursive: true, force: true })
  }

  #held(cwd: string, words: readonly string[]): Said {
    const said = this.#qemuImg(cwd, ['map', '--output=json', ...words])
    const ends: string[] = []
    let last: boolean | undefined
    for (const { start, present } of JSON.parse(said.out || '[]') as { start: number; present: boolean }[]) {
      if (present !== last) ends.push(`${start} ${present}`)
      last = present
    }
    return { ...said, out: ends.join('\n') }
  }

  #qemuImg(cwd: string, words: readonly string[]): Said {
    const { stdout, stderr, status } = spawnSync('qemu-img', words, { cwd, encoding: 'utf8' })
    return comparable({ out: stdout, err: stderr, status: status ?? -1 })
  }
}

/** Removes allocated sizes, which depend on the host, and times, which are not compared here. */
const comparable = ({ out, err, status }: Said): Said => ({
  out: out
    .replaceAll(/^disk size: .*$/gm, 'disk size: X')
    .replaceAll(/"actual-size": \d+/g, '"actual-size": X')
    .replaceAll(/\b\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\b/g, 'XXXX-XX-XX XX:XX:XX')
    .replaceAll(/"date-(n?sec)": \d+/g, '"date-$1": X')
    .replaceAll(/^Run completed in \d+\.\d{3} seconds\.$/gm, 'Run completed in X seconds.'),
  // Numbers of nodes, which count differently.
  err: err.replaceAll(/#block\d+/g, '#blockN'),
  status,
})

/** The functions of vitest that are needed, and the process whose directory tests change. */
interface Surroundings {
  readonly home: Home
  beforeEach(prepare: () => void): void
  afterEach(clean: () => void): void
  expect(actual: unknown): { toEqual(expected: unknown): void }
}

/** Sets up two programs for every test of a file. @throws Error if QEMU is required but not installed */
export function comparison({ home, beforeEach, afterEach, expect }: Surroundings) {
  const installed = hasQemu()
  if (!installed && home.env['REQUIRE_QEMU'] === '1')
    throw new Error('REQUIRE_QEMU=1, but qemu-img is missing')
  let two: TwoPrograms
  beforeEach(() => {
    two = new TwoPrograms(home)
  })
  afterEach(() => two.remove())
  return {
    installed,
    /** Puts the same file into both directories. */
    write: (name: string, bytes: Uint8Array): void => two.write(name, bytes),
    /** Runs lines in order; both programs must print the same for each. */
    async sayTheSame(lines: readonly string[]): Promise<void> {
      const { ours, theirs } = await two.runAll(lines)
      expect(ours).toEqual(theirs)
    },
  }
}
