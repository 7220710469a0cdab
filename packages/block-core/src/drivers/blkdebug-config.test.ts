import { describe, expect, it } from 'vitest'
import { parseOptions } from '../text/options.ts'
import { joinRules, NO_RULES, parseBlkdebugConfig, ruleOptions } from './blkdebug-config.ts'

const INJECT = {
  event: 'none',
  state: 0,
  iotype: undefined,
  errno: 5,
  offset: undefined,
  once: false,
  immediately: false,
}

describe('a blkdebug config file', () => {
  it('holds rules in sections', () => {
    const text = [
      '# a comment',
      '',
      '[inject-error "first"]',
      'event = "l2_load"',
      '  state = "2"',
      'errno = "0x1c"',
      'sector="8"',
      'iotype = "write-zeroes"',
      'once = "on"',
      'immediately = "off"',
      '[set-state]',
      'event = "cow_read"\r',
      'state = "1"',
      'new_state = "2"',
      '[inject-error]',
      'event = "none"',
    ].join('\n')
    expect(parseBlkdebugConfig(text)).toEqual({
      injectError: [
        {
          ...INJECT,
          event: 'l2_load',
          state: 2,
          errno: 28,
          offset: 4096,
          iotype: 'write-zeroes',
          once: true,
        },
        INJECT,
      ],
      setState: [{ event: 'cow_read', state: 1, newState: 2 }],
    })
  })

  it.each([
    ['[inject-error]\nevent = "foo"', 'invalid parameter value: foo'],
    ['[inject-error]\nevent = "none"\niotype = "trim"', 'invalid parameter value: trim'],
    ['[inject-nothing]\nevent = "none"', "There is no option group 'inject-nothing'"],
    ['[inject-error]\nbla = "1"', "Invalid parameter 'bla'"],
    ['[inject-error]\nstate = "1"', 'Missing event name for rule'],
    ['[set-state]\nnew_state = "1"', 'Missing event name for rule'],
    ['event = "none"', 'no group defined'],
    ['[inject-error]\nevent', 'parse error'],
    ['[inject-error]\nevent = "none"\nerrno = "x"', "Parameter 'errno' expects a number"],
  ])('%j is refused', (text, message) => {
    expect(() => parseBlkdebugConfig(text)).toThrow(expect.objectContaining({ code: 'EINVAL', message }))
  })
})

describe('blkdebug rules as options', () => {
  const parse = (raw: Record<string, unknown>) => joinRules(NO_RULES, parseOptions(ruleOptions, raw))

  it('are a list, numbered groups, or one group', () => {
    const one = { injectError: [{ ...INJECT, errno: 28 }], setState: [] }
    expect(parse({ 'inject-error': [{ event: 'none', errno: 28 }] })).toEqual(one)
    expect(parse({ 'inject-error': { 0: { event: 'none', errno: '28' } } })).toEqual(one)
    expect(parse({ 'inject-error': { event: 'none', errno: '28' } })).toEqual(one)
    expect(parse({})).toEqual({ injectError: [], setState: [] })
    expect(parse({ 'set-state': [{ event: 'none', new_state: 3 }] }).setState).toEqual([
      { event: 'none', state: 0, newState: 3 },
    ])
  })

  it.each([
    [
      { 'inject-error': [{ event: 'none', foo: 1 }] },
      "[inject-error] section doesn't support the option 'foo'",
    ],
    [
      { 'set-state': [{ event: 'none', 'new-state': 1 }] },
      "[set-state] section doesn't support the option 'new-state'",
    ],
    [{ 'inject-error': { event: 'none', foo: 1 } }, "Unknown option 'foo' for [inject-error]"],
    [{ 'inject-error': { 1: { event: 'none' } } }, "Unused option '1' for [inject-error]"],
    [{ 'inject-error': ['none'] }, '[inject-error] section (index 0) does not consist of keys'],
    [{ 'inject-error': 'none' }, '[inject-error] expects groups of options'],
    [{ 'inject-error': [{ errno: 3 }] }, 'Missing event name for rule'],
    [{ 'inject-error': [{ event: 'bla' }] }, 'invalid parameter value: bla'],
  ])('%j are refused', (raw, message) => {
    expect(() => parse(raw)).toThrow(expect.objectContaining({ code: 'EINVAL', message }))
  })
})
