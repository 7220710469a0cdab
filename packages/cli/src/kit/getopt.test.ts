import { describe, expect, it } from 'vitest'
import { Getopt, type GetoptOption } from './getopt.ts'

const OPTIONS: readonly GetoptOption[] = [
  { short: 'q', takesValue: false },
  { short: 'p', takesValue: false },
  { short: 'f', long: 'format', takesValue: true },
  { long: 'force-share', takesValue: false },
  { long: 'output', takesValue: true },
]

/** All steps in short form, and the operands. */
function parse(words: readonly string[], inOrder = false): string[] {
  const parser = new Getopt(['prog', ...words], OPTIONS, inOrder)
  const found: string[] = []
  for (const step of parser) {
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

  it.each([
    [['-Z', '0'], "invalid option -- 'Z'"],
    [['-f'], "option requires an argument -- 'f'"],
    [['--for'], "option '--for' is ambiguous; possibilities: '--format' '--force-share'"],
    [['--zzz=1'], "unrecognized option '--zzz=1'"],
    [['--force-share=3'], "option '--force-share' doesn't allow an argument"],
    [['--outp'], "option '--output' requires an argument"],
  ])('says of %j what the C library says: %s', (words, message) => {
    expect([...new Getopt(['prog', ...words], OPTIONS)][0]).toMatchObject({ message })
  })

  it('takes words for letters where there are no words', () => {
    const [step] = new Getopt(['prog', '--q'], [{ short: 'q', takesValue: false }])
    expect(step).toMatchObject({ kind: 'unknown', message: "invalid option -- '-'" })
  })

  it('gives all words in the order in which getopt leaves them', () => {
    const parser = new Getopt(['prog', '0', '-q', '512', '-f', '1'], OPTIONS)
    expect([...parser]).toHaveLength(2)
    expect(parser.permuted).toEqual(['-q', '-f', '1', '0', '512'])
    expect(parser.operands).toEqual(['0', '512'])
  })

  it('takes more letters and words for an option, which do not make older abbreviations ambiguous', () => {
    const options: readonly GetoptOption[] = [
      { long: 'bitmaps', takesValue: false },
      { short: 'B', newer: ['b', 'backing', 'backing-file'], takesValue: true },
      { short: 'p', newer: ['progress'], takesValue: false },
      { short: 'm', newer: ['parallel'], takesValue: true },
    ]
    const read = (...words: string[]) =>
      [...new Getopt(['prog', ...words], options)].map((step) =>
        step.kind === 'option' ? `${step.option.long ?? step.option.short} ${step.value}` : step.message,
      )
    expect(read('-Ba', '-bc', '--backing=d', '--backing-file', 'e', '--back', 'f')).toEqual(
      ['a', 'c', 'd', 'e', 'f'].map((value) => `B ${value}`),
    )
    expect(read('--b', '--bi', '--pro', '--par', '7')).toEqual([
      'bitmaps undefined',
      'bitmaps undefined',
      'p undefined',
      'm 7',
    ])
    expect(read('--p')).toEqual(["option '--p' is ambiguous; possibilities: '--progress' '--parallel'"])
    expect(read('--parallel')).toEqual(["option '--parallel' requires an argument"])
    expect(read('--progress=1')).toEqual(["option '--progress' doesn't allow an argument"])
  })

  it('stops at the first operand where order counts', () => {
    expect(parse(['-q', 'create', '-f', 'raw'], true)).toEqual(['q', '|', 'create', '-f', 'raw'])
  })
})
