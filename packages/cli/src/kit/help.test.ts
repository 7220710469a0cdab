import { describe, expect, it } from 'vitest'
import { commandText, explained, spellingsOf, wrapped } from './help.ts'
import { flag, word } from './options.ts'

describe('a text', () => {
  it('is broken between words, as late as possible', () => {
    expect(wrapped('aa bb cc', 5)).toEqual(['aa bb', 'cc'])
    expect(wrapped('aa bb cc', 4)).toEqual(['aa', 'bb', 'cc'])
    expect(wrapped('a longword b', 4)).toEqual(['a', 'longword', 'b'])
    expect(wrapped('x'.repeat(80))).toEqual(['x'.repeat(80)])
    expect(wrapped('')).toEqual([])
  })
})

describe('an explanation', () => {
  it('stands beside its term, or below a long one', () => {
    expect(
      explained(
        [
          ['a', 'one'],
          ['long', 'two'],
          ['b', ''],
        ],
        6,
      ),
    ).toBe('  a   one\n  long\n      two\n  b\n')
  })
})

describe('an option', () => {
  it('is spelled by letters, then by words', () => {
    expect(spellingsOf('x', {})).toEqual(['-x'])
    expect(spellingsOf('any', { short: 'b', long: 'base', newer: ['B', 'backing'] })).toEqual([
      '-b',
      '-B',
      '--base',
      '--backing',
    ])
    expect(spellingsOf('any', { newer: ['list'] })).toEqual(['--list'])
  })
})

describe('the help of a command', () => {
  it('says what it does, and lists operands and options', () => {
    const text = commandText('prog', {
      name: 'do',
      summary: 'does it',
      details: ['Again', 'and again.'],
      options: {
        quiet: flag({ short: 'q', long: 'quiet', help: 'say nothing' }),
        output: word('out_file', { long: 'output-file-name', help: 'where' }),
      },
      operands: 'filename',
      operandHelp: { filename: 'the image' },
      example: 'do -q it',
    })
    expect(text).toBe(
      [
        'Usage: prog do [options] filename',
        'Does it.',
        'Again and again.',
        '',
        '  filename                  the image',
        '',
        'Options:',
        '  -q, --quiet               say nothing',
        '      --output-file-name OUT_FILE',
        '                            where',
        '',
        'Example:',
        '  prog do -q it',
        '',
      ].join('\n'),
    )
  })
})
