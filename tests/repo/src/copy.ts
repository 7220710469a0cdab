/**
 * A temporary copy of the repository, or of a part of it, for scripts that would change it or that must find what is
 * planted there. Scripts take the directory above their own for the repository.
 * @module
 */
import { spawnSync } from 'node:child_process'
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../../..', import.meta.url))

/** The outcome of a script. */
export interface Outcome {
  readonly status: number | null
  /** Both streams. */
  readonly output: string
}

/** See the head of this file. */
export class Copy {
  readonly directory = mkdtempSync(join(tmpdir(), 'vmblock-copy-'))

  /** @param parts files and folders of the repository, without what is installed or built */
  constructor(parts: readonly string[]) {
    for (const part of parts)
      cpSync(join(root, part), join(this.directory, part), {
        recursive: true,
        filter: (path) => !['node_modules', 'dist', '.cache'].includes(basename(path)),
      })
    this.#link('node_modules')
    if (parts.includes('packages'))
      for (const folder of readdirSync(join(root, 'packages'))) this.#link(`packages/${folder}/node_modules`)
  }

  #link(part: string): void {
    if (existsSync(join(root, part))) symlinkSync(join(root, part), join(this.directory, part), 'junction')
  }

  /** A path in the copy. */
  at(part: string): string {
    return join(this.directory, part)
  }

  /** Writes a file, with the folders above it. */
  plant(part: string, text: string): void {
    mkdirSync(dirname(this.at(part)), { recursive: true })
    writeFileSync(this.at(part), text)
  }

  /** Runs a script of JavaScript there. */
  run(script: string, ...args: readonly string[]): Outcome {
    const { status, stdout, stderr } = spawnSync(process.execPath, [script, ...args], {
      cwd: this.directory,
      encoding: 'utf8',
      env: { ...process.env, VITEST: '', NO_COLOR: '1' },
    })
    return { status, output: stdout + stderr }
  }

  /** Removes the copy. */
  remove(): void {
    rmSync(this.directory, { recursive: true, force: true })
  }
}
