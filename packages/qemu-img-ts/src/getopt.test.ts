import { describe, expect, it } from 'vitest'
import { Getopt, type GetoptOption } from './getopt.ts'

const OPTIONS: readonly GetoptOption[] = [
  { short: 'q', takesValue: false },
  { short: 'p', takesValue: false },
  { short: 'f', long: 'format', takesValue: true },
  { long: 'force-share', takesValue: false },
  { long: 'output', takesValue: true },
]

/** Everything found, in short, and the operands. */
function parse(words: readonly string[], inOrder = false): string[] {
  const parser = new Getopt(['prog', ...words], OPTIONS, inOrder)
  const found: string[] = []
  for (let step = parser.next(); step; step = parser.next()) {
    if (step.kind !== 'option') return [...found, `${step.kind} ${step.word}`]
    const { short, long } = step.option
    found.push(`${short ?? long}${step.value === undefined ? '' : `=${step.value}`}`)
  }
  return [...found, '|', ...parser.operands]
}

describe('getopt', () => {
  it.each([
    [
      ['-q', 'a'],
      ['q', '|', 'a'],
    ],
    [
      ['a', '-q', 'b', '-f', 'raw', 'c'],
      ['q', 'f=raw', '|', 'a', 'b', 'c'],
    ],
    [['-qpfraw'], ['q', 'p', 'f=raw', '|']],
    [
      ['-qf', 'raw'],
      ['q', 'f=raw', '|'],
    ],
    [
      ['--format', 'raw'],
      ['f=raw', '|'],
    ],
    [['--format=raw=x'], ['f=raw=x', '|']],
    [
      ['--forc', '--form', 'x', '--o='],
      ['force-share', 'f=x', 'output=', '|'],
    ],
    [
      ['a', '--', '-q', 'b'],
      ['|', 'a', '-q', 'b'],
    ],
    [
      ['-f', '--', '-q'],
      ['f=--', 'q', '|'],
    ],
    [
      ['a', '-', 'b', '-q'],
      ['q', '|', 'a', '-', 'b'],
    ],
    [[], ['|']],
  ])('reads %j as %j', (words, expected) => {
    expect(parse(words)).toEqual(expected)
  })

  it.each([
    [['-Z'], 'unknown -Z'],
    [['--nope'], 'unknown --nope'],
    [['--for'], 'unknown --for'],
    [['--force-share=1'], 'unknown --force-share=1'],
    [['a', 'b', '-f'], 'missing -f'],
    [['--output'], 'missing --output'],
    [['-qZ'], 'unknown -qZ'],
  ])('stops at %j: %s', (words, expected) => {
    expect(parse(words).at(-1)).toBe(expected)
  })

  it('names the word before a bundle that it has not left, as C does', () => {
    expect(parse(['a', '-Zq'])).toEqual(['unknown a'])
  })

  it('stops at the first operand where order counts', () => {
    expect(parse(['-q', 'create', '-f', 'raw'], true)).toEqual(['q', '|', 'create', '-f', 'raw'])
  })
})
