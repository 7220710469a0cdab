/** Completion in real shells: keys are typed on a terminal, as people type them. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { buildProgram, type ProgramName } from '../support/built-program.ts'

const PROGRAMS: readonly ProgramName[] = ['qemu-img-ts', 'qemu-io-ts']

const isThere = (command: string, ...words: string[]): boolean =>
  spawnSync(command, words).error === undefined
/** A program that makes a terminal for another. */
const hasTerminal = isThere('script', '--version')

let directory: string

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'vmblock-completion-'))
  mkdirSync(join(directory, 'images'))
  writeFileSync(join(directory, 'images/my disk.img'), '')
  for (const name of PROGRAMS) {
    const bin = await buildProgram(name, join(directory, name))
    for (const shell of ['bash', 'zsh', 'fish']) {
      const words = name === 'qemu-img-ts' ? ['completion', shell] : ['--completion', shell]
      const { stdout, stderr } = spawnSync(process.execPath, [bin, ...words], { encoding: 'utf8' })
      expect(stderr).toBe('')
      writeFileSync(join(directory, `${name}.${shell}`), stdout)
    }
  }
})
afterAll(() => rmSync(directory, { recursive: true, force: true }))

const scripts = (shell: string): string =>
  PROGRAMS.map((name) => `source ${join(directory, `${name}.${shell}`)}`).join('; ')

/** A shell on a terminal. */
class Shell {
  readonly #process: ChildProcess
  #printed = ''
  #changed: () => void = () => {}

  /** @param setUp a command; it must let Ctrl-X print the line that is edited as `LINE<...>`, and clear it */
  constructor(command: string, setUp: string) {
    this.#process = spawn('script', ['-qefc', command, '/dev/null'], {
      cwd: join(directory, 'images'),
      env: { ...process.env, TERM: 'xterm', INPUTRC: '/dev/null' },
    })
    this.#process.stdout!.setEncoding('utf8').on('data', (text: string) => {
      this.#printed += text
      this.#changed()
    })
    this.#process.stdin!.write(`stty cols 250; ${setUp}; printf 'REA%s\\n' DY\n`)
  }

  /** What is printed up to a match; it is not found again. */
  async #until(pattern: RegExp): Promise<string> {
    for (;;) {
      const match = pattern.exec(this.#printed)
      if (match) {
        const end = match.index + match[0].length
        const text = this.#printed.slice(0, end)
        this.#printed = this.#printed.slice(end)
        return text
      }
      await new Promise<void>((resolve) => {
        this.#changed = resolve
      })
    }
  }

  /** Waits until the shell reads keys. */
  async ready(): Promise<void> {
    await this.#until(/READY\r?\n/)
  }

  /** Types a text and the tab key. @returns the line that is there then, and all that was printed */
  async complete(typed: string): Promise<{ readonly line: string; readonly printed: string }> {
    this.#process.stdin!.write(`${typed}\t\x18`)
    const printed = await this.#until(/LINE<[^>\r\n]*>/)
    return { line: /LINE<(.*)>$/.exec(printed)![1]!, printed }
  }

  async end(): Promise<void> {
    const ended = new Promise((resolve) => this.#process.once('close', resolve))
    this.#process.stdin!.end('exit\n')
    await ended
  }
}

/** Typed text, and what the tab key makes of it in bash and in zsh. */
const CASES: readonly (readonly [typed: string, completed: string])[] = [
  ['qemu-img-ts conv', 'qemu-img-ts convert '],
  ['qemu-img-ts check -r l', 'qemu-img-ts check -r leaks '],
  ['qemu-img-ts check -q --force', 'qemu-img-ts check -q --force-share '],
  ['qemu-img-ts convert --target-format=qc', 'qemu-img-ts convert --target-format=qcow2 '],
  ['qemu-img-ts create -B qe', 'qemu-img-ts create -B qed '],
  ['qemu-img-ts bench --cache w', 'qemu-img-ts bench --cache write'],
  ['qemu-img-ts info my', 'qemu-img-ts info my\\ disk.img '],
  ['qemu-img-ts convert -b my', 'qemu-img-ts convert -b my\\ disk.img '],
  ['qemu-img-ts completion f', 'qemu-img-ts completion fish '],
  ['qemu-img-ts create -o my', 'qemu-img-ts create -o my'],
  ['qemu-io-ts --read', 'qemu-io-ts --read-only '],
  ['qemu-io-ts -t di', 'qemu-io-ts -t directsync '],
  ['qemu-io-ts -f qc', 'qemu-io-ts -f qcow2 '],
  ['qemu-io-ts -r my', 'qemu-io-ts -r my\\ disk.img '],
]

describe.skipIf(!hasTerminal || !isThere('bash', '--version'))('bash', () => {
  test('completes commands, options, values and files', async () => {
    const show = String.raw`bind -x '"\C-x": printf "LINE<%s>\n" "$READLINE_LINE"; READLINE_LINE='`
    const shell = new Shell('bash --norc --noprofile -i', `${scripts('bash')}; ${show}`)
    await shell.ready()
    for (const [typed, completed] of CASES) expect((await shell.complete(typed)).line).toBe(completed)
    await shell.end()
  })
})

describe.skipIf(!hasTerminal || !isThere('zsh', '--version'))('zsh', () => {
  test('completes commands, options, values and files, and says what they are', async () => {
    const show = 'show() { print -r -- "LINE<$BUFFER>"; BUFFER=; }; zle -N show; bindkey "^X" show'
    const start = 'autoload -Uz compinit; compinit -u -D; unsetopt auto_menu'
    const shell = new Shell('zsh -f -i', `${start}; ${scripts('zsh')}; ${show}`)
    await shell.ready()
    for (const [typed, completed] of CASES) expect((await shell.complete(typed)).line).toBe(completed)
    expect((await shell.complete('qemu-img-ts check --rep')).line).toBe('qemu-img-ts check --repair=')
    const { printed } = await shell.complete('qemu-img-ts check --for')
    expect(printed).toContain('-- open an image that others may be writing')
    await shell.end()
  })
})

describe.skipIf(!isThere('fish', '--version'))('fish', () => {
  const completed = (typed: string): string =>
    spawnSync('fish', ['--no-config', '-c', `${scripts('fish')}; complete -C '${typed}'`], {
      cwd: join(directory, 'images'),
      env: { ...process.env, HOME: directory },
      encoding: 'utf8',
    }).stdout

  test.each([
    ['qemu-img-ts conv', 'convert\tcopy disks into an image of another format\n'],
    ['qemu-img-ts check --force', '--force-share\topen an image that others may be writing\n'],
    ['qemu-img-ts create --backing-f', /^--backing-format\tthe format of the backing file .*\n$/],
    ['qemu-img-ts check -r l', /^leaks\trepair: .*\n$/],
    ['qemu-img-ts convert -O qc', /^qcow2\t.*\n$/],
    ['qemu-img-ts convert --target-format=qc', /^--target-format=qcow2\t.*\n$/],
    ['qemu-img-ts info my', /^my disk.img\b.*\n$/],
    ['qemu-img-ts convert -b my', /^my disk.img\b.*\n$/],
    ['qemu-img-ts completion f', /^fish\b.*\n$/],
    ['qemu-img-ts create -o my', ''],
    ['qemu-io-ts --read', '--read-only\topen the image read-only\n'],
    ['qemu-io-ts -t di', /^directsync\t.*\n$/],
    ['qemu-io-ts my', /^my disk.img\b.*\n$/],
  ])('completes %s', (typed, expected) => {
    if (typeof expected === 'string') expect(completed(typed)).toBe(expected)
    else expect(completed(typed)).toMatch(expected)
  })
})
