import { describe, expect, it } from 'vitest'
import { getopt } from './getopt.ts'

const short = new Map([
  ['q', false],
  ['v', false],
  ['P', true],
])
const long = [
  { name: 'help', letter: 'h', takesValue: false },
  { name: 'cmd', letter: 'c', takesValue: true },
  { name: 'copy-on-read', letter: 'C', takesValue: false },
  { name: 'cache', letter: 't', takesValue: true },
  { name: 'object', takesValue: true },
]
const names = (words: string[]): unknown[] =>
  getopt(words, { short, long }).found.map((item) =>
    item.kind === 'option' ? [item.name, item.value] : item.message,
  )

describe('short options', () => {
  it('stand anywhere among the operands', () => {
    const { found, operands, permuted } = getopt(['0', '-q', '512', '-P', '1'], { short })
    expect(found).toEqual([
      { kind: 'option', name: 'q', value: undefined },
      { kind: 'option', name: 'P', value: '1' },
    ])
    expect(operands).toEqual(['0', '512'])
    expect(permuted).toEqual(['-q', '-P', '1', '0', '512'])
  })

  it('are bundled, and take the rest of the word or the next word as their value', () => {
    expect(names(['-qvP5'])).toEqual([
      ['q', undefined],
      ['v', undefined],
      ['P', '5'],
    ])
    expect(names(['-qP', '-v'])).toEqual([
      ['q', undefined],
      ['P', '-v'],
    ])
  })

  it('end at --', () => {
    const { found, operands } = getopt(['-q', '--', '-v', '-1'], { short })
    expect(found).toHaveLength(1)
    expect(operands).toEqual(['-v', '-1'])
  })

  it('that are unknown, or lack their value, are told in the words of the C library', () => {
    expect(names(['-x', '0'])).toEqual(["invalid option -- 'x'"])
    expect(names(['-1'])).toEqual(["invalid option -- '1'"])
    expect(names(['-P'])).toEqual(["option requires an argument -- 'P'"])
  })

  it('do not include a lone dash', () => {
    expect(getopt(['-'], { short }).operands).toEqual(['-'])
  })
})

describe('long options', () => {
  it('may be abbreviated, and have their value after = or in the next word', () => {
    expect(names(['--cac=none', '--object', 'x'])).toEqual([
      ['t', 'none'],
      ['object', 'x'],
    ])
  })

  it('are refused in the words of the C library', () => {
    expect(names(['--c', 'x'])).toEqual([
      "option '--c' is ambiguous; possibilities: '--cmd' '--copy-on-read' '--cache'",
    ])
    expect(names(['--zzz=1'])).toEqual(["unrecognized option '--zzz=1'"])
    expect(names(['--help=3'])).toEqual(["option '--help' doesn't allow an argument"])
    expect(names(['--ca'])).toEqual(["option '--cache' requires an argument"])
  })
})
