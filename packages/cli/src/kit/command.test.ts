import { describe, expect, it } from 'vitest'
import { oneImage, usageLine } from './command.ts'
import { Failure, usageFailure } from './failure.ts'
import { flag, word } from './options.ts'

describe('a usage line', () => {
  const command = {
    name: 'do',
    summary: 'does it',
    options: {
      quiet: flag({ short: 'q', long: 'quiet' }),
      format: word('fmt', { short: 'f' }),
      force: flag({ long: 'force' }),
      output: word('ofmt', { long: 'output' }),
    },
    operands: 'filename',
  }

  it('is made from the options and operands', () => {
    expect(usageLine(command)).toBe('do [-q] [-f fmt] [--force] [--output=ofmt] filename')
    expect(usageLine({ name: 'quit', summary: 'ends' })).toBe('quit')
  })

  it('is what the table says where it says so, under the name that is asked for', () => {
    expect(usageLine({ ...command, usage: '[-qf] off' }, 'd')).toBe('d [-qf] off')
  })
})

describe('the only operand', () => {
  it('is given once', () => {
    expect(oneImage({ operands: ['a'] })).toBe('a')
    for (const operands of [[], ['a', 'b']])
      expect(() => oneImage({ operands })).toThrow(usageFailure('Expecting one image file name'))
  })

  it('is refused in the words of the command', () => {
    const refused = new Failure('no')
    expect(() => oneImage({ operands: [] }, () => refused)).toThrow(refused)
  })
})
