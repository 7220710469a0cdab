/** The command lines of the documentation: those of our programs run, and print what their pages say. */
import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { buildProgram, type ProgramName } from '../support/built-program.ts'
import { type Block, blocksOf, fixtureOf, pages, ROOT } from '../support/doc-blocks.ts'

/** Command lines of our programs that are not run here, by page, and why. */
const NOT_RUN: Readonly<Record<string, readonly { readonly line: string; readonly why: string }[]>> = {}

const PROGRAMS: readonly ProgramName[] = ['qemu-img-ts', 'qemu-io-ts']
const OURS = /^(qemu-img-ts|qemu-io-ts|npm start --) /

const linesOf = ({ code }: Block): readonly string[] => code.split('\n').filter((line) => line.trim() !== '')

const isShell = ({ language }: Block): boolean => language === undefined || /^(sh|shell|bash)$/.test(language)

interface Shown {
  readonly block: Block
  readonly output: string | undefined
}

const shown = pages().flatMap((page): readonly Shown[] => {
  const blocks = blocksOf(page)
  return blocks.flatMap((block, at) => {
    const next = blocks[at + 1]
    return isShell(block) ? [{ block, output: next?.language === 'text' ? next.code : undefined }] : []
  })
})

const ours = shown.filter(({ block }) => linesOf(block).some((line) => OURS.test(line)))
const excused = ({ page, code }: Block): boolean =>
  NOT_RUN[page]?.some(({ line }) => code.split('\n').includes(line)) === true

const directory = mkdtempSync(join(tmpdir(), 'vmblock-shell-'))
const bin = join(directory, 'bin')

beforeAll(async () => {
  mkdirSync(bin)
  for (const name of PROGRAMS) {
    const script = await buildProgram(name, join(directory, name))
    writeFileSync(join(bin, name), `#!/bin/sh\nexec ${process.execPath} ${script} "$@"\n`)
    chmodSync(join(bin, name), 0o755)
  }
})
afterAll(() => rmSync(directory, { recursive: true, force: true }))

/** A line that kills the program, which the page wants. */
const ABORTS = /^.*-c abort [\w.]+/gm

/** Makes what the page finds, in the directory. */
async function prepare(page: string, home: string): Promise<void> {
  if (!existsSync(fixtureOf(page))) return
  const before = process.cwd()
  process.chdir(home)
  try {
    const fixture = (await import(/* @vite-ignore */ fixtureOf(page))) as { prepare?(): Promise<void> }
    await fixture.prepare?.()
  } finally {
    process.chdir(before)
  }
}

/** `npm start -- ...` is qemu-io-ts with these arguments. */
const START = 'npm() { if [ "$1" = start ]; then shift 2; qemu-io-ts "$@"; else command npm "$@"; fi; }'

test.skipIf(process.platform === 'win32').each([...new Set(ours.map(({ block }) => block.page))])(
  'the commands of %s run, one block after the other',
  async (page) => {
    const home = mkdtempSync(join(directory, 'page-'))
    await prepare(page, home)
    for (const { block, output } of ours.filter((each) => each.block.page === page && !excused(each.block))) {
      const env = { ...process.env, PATH: `${bin}:${process.env['PATH']}` }
      const command = `set -e\n${START}\n${block.code.replace(ABORTS, '$& || [ $? = 134 ]')}`
      const { status, stdout, stderr } = spawnSync('sh', ['-c', command], {
        cwd: home,
        env,
        encoding: 'utf8',
      })
      expect([block.line, status, status === 0 ? '' : stderr]).toEqual([block.line, 0, ''])
      if (output !== undefined) expect(stdout).toBe(output)
    }
  },
)

test('there are such commands, and what is excused is there', () => {
  expect(ours.length).toBeGreaterThan(0)
  for (const [page, lines] of Object.entries(NOT_RUN))
    for (const { line } of lines) expect(blocksOf(page).flatMap(linesOf)).toContain(line)
})

test('every npm script that a page calls is there', () => {
  const { scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
    readonly scripts: object
  }
  const inExample = JSON.parse(
    readFileSync(join(ROOT, 'examples/browser/package.json'), 'utf8'),
  ) as typeof scripts
  const called = shown.flatMap(({ block }) =>
    [...block.code.matchAll(/^ *npm run ([\w:-]+)/gm)].map(([, name]) => name!),
  )
  expect(called.length).toBeGreaterThan(5)
  expect(called.filter((name) => !(name in scripts) && !(name in inExample))).toEqual([])
})
