/** The manual pages are those of the tables, and man sets them without a warning. */
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { manuals } from '../../scripts/manuals.mjs'
import { ROOT } from '../support/doc-blocks.ts'

const pages = await manuals()
const roff = [...pages].filter(([path]) => path.endsWith('.1')).map(([path]) => path)
const isThere = (command: string): boolean => spawnSync(command, ['--version']).error === undefined

test('there is a page for man and one for docs/ of each program', () => {
  expect([...pages.keys()].sort()).toEqual([
    'docs/qemu-img-ts.md',
    'docs/qemu-io-ts.md',
    'packages/qemu-img-ts/man/qemu-img-ts.1',
    'packages/qemu-io-ts/man/qemu-io-ts.1',
  ])
})

test.each([...pages])('%s is what the tables say: `node scripts/manuals.mjs` writes it', (path, text) => {
  expect(readFileSync(join(ROOT, path), 'utf8')).toBe(text)
})

test.each(roff)('%s is in the package', (path) => {
  const [, name] = /^(packages\/[^/]+)\//.exec(path)!
  const { man, files } = JSON.parse(readFileSync(join(ROOT, name!, 'package.json'), 'utf8')) as {
    readonly man: string
    readonly files: readonly string[]
  }
  expect(join(name!, man)).toBe(path)
  expect(files).toContain('man')
})

describe.skipIf(!isThere('groff'))('set by groff', () => {
  test.each(roff)('%s is right', (path) => {
    const { status, stderr } = spawnSync('groff', ['-man', '-Tascii', '-ww', join(ROOT, path)], {
      encoding: 'utf8',
    })
    expect([status, stderr]).toEqual([0, ''])
  })
})

describe.skipIf(!isThere('man') || process.platform === 'darwin')('shown by man', () => {
  test.each(roff)('%s has every section and every option', (path) => {
    const { status, stdout, stderr } = spawnSync('man', ['--warnings', '-Tascii', '-l', join(ROOT, path)], {
      encoding: 'utf8',
      env: { ...process.env, MANWIDTH: '80', LC_ALL: 'C' },
      maxBuffer: 2 ** 26,
    })
    expect([status, stderr]).toEqual([0, ''])
    // Bold letters are printed twice, italic ones on a line.
    const text = stdout.replaceAll(/.[\b]/g, '')
    for (const section of ['NAME', 'SYNOPSIS', 'DESCRIPTION', 'OPTIONS', 'COMMANDS', 'EXAMPLES', 'SEE ALSO'])
      expect(text).toContain(`\n${section}\n`)
    const source = readFileSync(join(ROOT, path), 'utf8')
    const spellings = [...source.matchAll(/\\fB((?:\\-)+[\w\\-]+)\\fR/g)].map(([, word]) =>
      word!.replaceAll('\\-', '-'),
    )
    expect(spellings.length).toBeGreaterThan(20)
    for (const spelling of spellings) expect(text).toContain(spelling)
  })
})
