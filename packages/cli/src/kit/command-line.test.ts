import { describe, expect, it } from 'vitest'
import { CommandLine } from './command-line.ts'
import { Failure } from './failure.ts'
import { choice, flag, type OptionKind, word } from './options.ts'

const joined: OptionKind<string> = {
  short: 'o',
  argument: 'options',
  read: (text, _warn, before) => (before === undefined ? text : `${before},${text}`),
}

const kinds = {
  q: flag(),
  format: word('fmt', { short: 'f', long: 'format' }),
  repair: choice(['leaks', 'all'], (text) => new Failure(`no ${text}`), { long: 'repair', argument: 'mode' }),
  joined,
  warned: { long: 'warned', read: (_text: string, warn: (line: string) => void) => warn('careful') },
}

function read(words: readonly string[], inOrder = false) {
  const warnings: string[] = []
  const line = new CommandLine(['prog', ...words], kinds, {
    warn: (message) => warnings.push(message),
    mistake: ({ kind, word, message }) => new Failure(`${kind} ${word}: ${message}`),
    inOrder,
  })
  return { line, warnings, given: [...line] }
}

describe('a command line', () => {
  it('gives options by the names of the table, and operands', () => {
    const { line } = read(['-q', 'a', '--form=raw', 'b', '--repair', 'all'])
    expect(line.options).toEqual({ q: true, format: 'raw', repair: 'all' })
    expect(line.operands).toEqual(['a', 'b'])
    expect(line.permuted).toEqual(['-q', '--form=raw', '--repair', 'all', 'a', 'b'])
  })

  it('keeps what is given in order; the last of equal options counts, unless they are joined', () => {
    const { line, given } = read(['-f', 'a', '-o', 'x', '-f', 'b', '-o', 'y'])
    expect(given.map(({ name, value }) => `${name} ${value}`)).toEqual([
      'format a',
      'joined x',
      'format b',
      'joined x,y',
    ])
    expect(line.options).toEqual({ format: 'b', joined: 'x,y' })
  })

  it('spells an option as its key where it has no spelling', () => {
    expect(() => read(['--q'])).toThrow('unrecognized option')
    expect(() => read(['-w'])).toThrow("unknown -w: invalid option -- 'w'")
  })

  it('ends with the first mistake', () => {
    expect(() => read(['--warned', '--repair', 'x', '--nothing'])).toThrow(new Failure('no x'))
    expect(() => read(['--nothing', '--repair', 'x'])).toThrow('unknown --nothing')
    expect(() => read(['a', '-f'])).toThrow('missing -f')
  })

  it('warns while it is read', () => {
    expect(read(['--warned']).warnings).toEqual(['careful'])
  })

  it('leaves the words after the first operand alone where a command follows', () => {
    expect(read(['-q', 'a', '-q', '--nothing'], true).line.operands).toEqual(['a', '-q', '--nothing'])
  })
})
