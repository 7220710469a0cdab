/** Parsing of the command line. */
import { expect, test } from 'vitest'
import { readCommandLine, UsageError } from './command-line.ts'

test('parts, words and options, with or without the dashes that npm hands on', () => {
  expect(readCommandLine('/', [])).toMatchObject({ part: 'programs', words: [], rounds: 5, quick: false })
  expect(readCommandLine('/', ['--', 'read', '--filter', 'start', '--quick'])).toMatchObject({
    part: 'programs',
    words: ['read', 'start'],
    rounds: 1,
    quick: true,
  })
  expect(readCommandLine('/', ['micro', 'mutex', '--compare', 'a.json'])).toMatchObject({
    part: 'micro',
    words: ['mutex'],
    compare: 'a.json',
  })
  expect(readCommandLine('/', ['--node', 'newest', '--node', '22', '--rounds', '9'])).toMatchObject({
    runtimes: ['newest', '22'],
    rounds: 9,
  })
  expect(readCommandLine('/', ['--help'])).toBeUndefined()
})

test.each([['--rounds', '0'], ['--rounds', 'many'], ['--fast']])('%s %s makes no sense', (...args) => {
  expect(() => readCommandLine('/', args)).toThrow(UsageError)
})
