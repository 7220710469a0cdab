/** Hostile images and names in the shipped programs: little memory, an end, and a safe terminal. */
import { readFileSync, writeFileSync } from 'node:fs'
import { afterAll, describe, expect, test } from 'vitest'
import { buildPrograms } from './src/child.ts'
import { type Case, CORPUS, imageOf } from './src/corpus.ts'
import { TABLES } from './src/corpus-tables.ts'
import { makeOwnSeeds } from './src/seeds.ts'

/** Long runs try every image with every command. */
const THOROUGH = process.env['HOSTILE_RUNS'] !== undefined

const programs = await buildPrograms()
const seeds = await makeOwnSeeds()
afterAll(() => programs.remove())

/** Bytes that a process may take: those of Node.js itself, the caches, and the promised bound. */
const MEMORY = 400 * 2 ** 20
/** Text that no user must see. */
const MACHINERY =
  /\n {4}at |\.[ct]?js:\d|TypeError|RangeError|undefined|NaN|\[object|Infinity|heap out of memory/

/** The commands that are run on each image. */
const COMMANDS = (format: string): readonly (readonly string[])[] => [
  ['check', '-f', format, 'disk'],
  ['info', '-f', format, 'disk'],
  ['check', '-q', '-r', 'all', '-f', format, 'disk'],
  ['map', '-f', format, 'disk'],
  ['compare', '-f', format, '-F', format, 'disk', 'disk'],
  ['amend', '-f', format, '-o', format === 'qcow2' ? 'compat=0.10' : 'size=1M', 'disk'],
  ['resize', '-f', format, 'disk', '+1M'],
  ['resize', '--shrink', '-f', format, 'disk', '64K'],
  ['commit', '-f', format, 'disk'],
]
const IO = ['read 0 64k', 'write 0 4k', 'write -z 4k 4k', 'discard 0 1M', 'write 2M 64k', 'map', 'flush']

function checkEnded(
  words: readonly string[],
  { out, err, status, peak }: ReturnType<typeof programs.run>,
): void {
  const said = `${err.slice(0, 2000)}${out.slice(0, 2000)}`
  expect([words, status], said).toEqual([words, expect.any(Number)])
  expect(said).not.toMatch(MACHINERY)
  // qemu-io reports failures among its results, as QEMU's does; a quiet check may report only by its status.
  if (status !== 0 && !words.includes('-q'))
    expect(said).toMatch(/^qemu-(img|io): .|failed: .|^\d+ (errors|leaked clusters) were found/m)
  expect(peak / 2 ** 20, words.join(' ')).toBeLessThan(MEMORY / 2 ** 20)
}

const all = [...CORPUS, ...TABLES]
const some = THOROUGH ? all : [CORPUS[0]!, CORPUS[3]!, ...TABLES.slice(0, 2), TABLES.at(-1)!]

test(`${some.length} images end each command with a line, in little memory`, { timeout: 0 }, () => {
  let images = 0
  const put = (one: Case): void => {
    const seed = seeds.find(({ name }) => name === one.seed)!
    programs.write('disk', imageOf(one, seed.bytes))
    images++
  }
  for (const one of some) {
    const format = one.name.startsWith('QED') ? 'qed' : 'qcow2'
    for (const words of COMMANDS(format).slice(0, THOROUGH ? undefined : 2)) {
      put(one)
      checkEnded([one.name, ...words], programs.run('qemu-img-ts', words))
    }
    put(one)
    const words = ['-f', format, ...IO.flatMap((line) => ['-c', line]), 'disk']
    checkEnded([one.name, ...words], programs.run('qemu-io-ts', words))
  }
  console.log(`counted ${images} images: programs with little memory`)
})

describe('names in an image', () => {
  const NAME = 'base\x1b]0;owned\x07\nvirtual size: 1 B\n\x9b31m\u202egpj.raw'
  const SHOWN = 'base\\u{1b}]0;owned\\u{7}\\nvirtual size: 1 B\\n\\u{9b}31m\\u{202e}gpj.raw'
  /** Characters that a terminal obeys, or shows out of order. */
  const ORDERS = /[^\P{Cc}\n\t]|\p{Bidi_Control}/u
  const make = (...more: string[]): void => {
    expect(
      programs.run('qemu-img-ts', ['create', '-q', '-f', 'qcow2', ...more, 'evil.qcow2', '1M']),
    ).toMatchObject({ err: '', status: 0 })
  }

  test('reach a pipe as they are, as from QEMU, and a terminal as text', () => {
    make('-u', '-b', NAME, '-F', 'raw')
    expect(programs.run('qemu-img-ts', ['info', 'evil.qcow2']).out).toContain(`backing file: ${NAME}\n`)
    const shown = programs.runOnTerminal('qemu-img-ts', ['info', 'evil.qcow2'])
    if (shown === undefined) return
    expect(shown).toContain(`backing file: ${SHOWN}\n`)
    expect(shown.match(/virtual size/g)).toHaveLength(2)
    expect(shown).not.toMatch(ORDERS)
  })

  test('reach a terminal as text in errors, too', () => {
    make('-u', '-b', NAME, '-F', 'raw')
    for (const [program, words] of [
      ['qemu-img-ts', ['map', 'evil.qcow2']],
      ['qemu-io-ts', ['-c', 'read 0 1', 'evil.qcow2']],
    ] as const) {
      expect(programs.run(program, words).err).toContain(NAME.slice(0, 14))
      const shown = programs.runOnTerminal(program, words)
      if (shown === undefined) continue
      // In one line, so that no part of the name looks like a line of the program.
      expect(shown).toContain(SHOWN.split(':', 1)[0])
      expect(shown).not.toMatch(/^virtual size/m)
      expect(shown).not.toMatch(ORDERS)
    }
  })

  test('of features and data files reach a terminal as text', () => {
    make('-o', 'data_file=abcdefgh')
    const bytes = readFileSync(programs.path('evil.qcow2'))
    bytes.write('\x1b[31m\n\x07.', bytes.indexOf('abcdefgh'))
    writeFileSync(programs.path('evil.qcow2'), bytes)
    for (const command of ['info', 'map']) {
      const shown = programs.runOnTerminal('qemu-img-ts', [command, 'evil.qcow2'])
      if (shown === undefined) return
      expect(shown).toContain('\\u{1b}[31m')
      expect(shown).not.toMatch(ORDERS)
    }
    make()
    const header = readFileSync(programs.path('evil.qcow2'))
    header.writeBigUInt64BE(1n << 40n, 72)
    header[header.indexOf('dirty bit') - 1] = 40
    header.write('\x1b[2Jx', header.indexOf('dirty bit'))
    writeFileSync(programs.path('evil.qcow2'), header)
    expect(programs.run('qemu-img-ts', ['info', 'evil.qcow2']).err).toContain('feature(s): \x1b[2Jx')
    const shown = programs.runOnTerminal('qemu-img-ts', ['info', 'evil.qcow2'])
    expect(shown).toContain('feature(s): \\u{1b}[2Jx')
    expect(shown).not.toMatch(ORDERS)
  })
})
