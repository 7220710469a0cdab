/**
 * Two directories with the same files in them. A command runs in one of them with our programs, in the other with QEMU's,
 * and both must say the same; then the sides are swapped.
 * @module
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Run, Subject } from '../../iotests/src/subject.ts'
import { inProcessSubject } from '../../iotests/src/subject-in-process.ts'
import { realSubject } from '../../iotests/src/subject-process.ts'

/** A command line of either program: its name, and the arguments. */
export interface Command {
  readonly program: 'img' | 'io'
  readonly args: readonly string[]
}

/** What both programs printed, and their exit statuses. */
export interface Outcome {
  readonly ours: Run
  readonly theirs: Run
}

const OURS = inProcessSubject()
const THEIRS = realSubject()

/** The two directories, and which of them is ours now. */
export class Sides {
  readonly #root = mkdtempSync(join(tmpdir(), 'vmblock-sides-'))
  readonly #before = process.cwd()
  #ours = 'a'

  constructor() {
    for (const side of ['a', 'b']) mkdirSync(join(this.#root, side))
  }

  /** The directory of our programs now. */
  get ours(): string {
    return join(this.#root, this.#ours)
  }
  /** The directory of QEMU's programs now. */
  get theirs(): string {
    return join(this.#root, this.#ours === 'a' ? 'b' : 'a')
  }

  /** From now on each side goes on with what the other has made. */
  swap(): void {
    this.#ours = this.#ours === 'a' ? 'b' : 'a'
  }

  /** Runs a command on both sides. */
  async run(command: Command): Promise<Outcome> {
    return {
      ours: await this.#in(this.ours, OURS, command),
      theirs: await this.#in(this.theirs, THEIRS, command),
    }
  }
  /** Runs a command with our programs on our side alone: QEMU has no such thing. */
  runOurs(command: Command): Promise<Run> {
    return this.#in(this.ours, OURS, command)
  }
  /** Runs a command with our programs on both sides. */
  async judgedByUs(command: Command): Promise<Outcome> {
    return {
      ours: await this.#in(this.ours, OURS, command),
      theirs: await this.#in(this.theirs, OURS, command),
    }
  }
  /** Runs a command with QEMU's programs on both sides. */
  async judgedByQemu(command: Command): Promise<Outcome> {
    return {
      ours: await this.#in(this.ours, THEIRS, command),
      theirs: await this.#in(this.theirs, THEIRS, command),
    }
  }

  /** Deletes both directories. */
  remove(): void {
    process.chdir(this.#before)
    rmSync(this.#root, { recursive: true, force: true })
  }

  async #in(directory: string, programs: Subject, { program, args }: Command): Promise<Run> {
    process.chdir(directory)
    for (let tries = 1; ; tries++) {
      const { code, text } = await programs[program](args)
      // QEMU measures how quick a key is derived, which a busy machine does not let it.
      if (tries < 20 && text.includes('Unable to get accurate CPU usage')) continue
      return { code, text: comparable(text) }
    }
  }
}

/** Replaces what depends on the host and the time. */
const comparable = (text: string): string =>
  text
    .replaceAll(/^disk size: .*$/gm, 'disk size: X')
    .replaceAll(/"actual-size": \d+/g, '"actual-size": X')
    .replaceAll(/"date-(n?sec)": \d+/g, '"date-$1": X')
    .replaceAll(/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d/g, 'DATE')
    .replaceAll(/\d+ ops; [0-9:.]+( sec)? \([^)]*\)/g, 'N ops; T')
    .replaceAll(/#block\d+/g, '#block')
    // What is random, or depends on how quick the machine is just then.
    .replaceAll(/"uuid": "[^"]*"/g, '"uuid": X')
    .replaceAll(/"(master-key-)?iters": \d+/g, '"$1iters": X')
    .replaceAll(/^( *)(uuid|(?:master key )?iters): .*$/gm, '$1$2: X')
    .replaceAll(/^Image end offset: \d+$/gm, 'Image end offset: X')
    .replaceAll(/, \d+\.\d+% fragmented/g, ', X% fragmented')
