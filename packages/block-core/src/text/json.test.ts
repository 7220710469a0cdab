import { describe, expect, it } from 'vitest'
import { parseJson } from './json.ts'

// Measured with QEMU 7.2.22.
const REFUSED: readonly [text: string, message: string][] = [
  ['', 'Expecting a JSON value'],
  [' ', 'Expecting a JSON value'],
  ['{', 'JSON parse error, premature EOI'],
  ['{"a"', 'JSON parse error, premature EOI'],
  ['{"a":', 'JSON parse error, premature EOI'],
  ['{"a":1', 'JSON parse error, premature EOI'],
  ['{"a":1,', 'JSON parse error, premature EOI'],
  ['{"a":1,}', 'JSON parse error, expecting value'],
  ['{a:1}', "JSON parse error, invalid keyword 'a'"],
  ['{"a":foo}', "JSON parse error, invalid keyword 'foo'"],
  ['{"a" 1}', 'JSON parse error, missing : in object pair'],
  ['{"a":1 "b"}', 'JSON parse error, expected separator in dict'],
  ['[1', 'JSON parse error, premature EOI'],
  ['[1,]', 'JSON parse error, expecting value'],
  ['[1 2]', 'JSON parse error, expected separator in list'],
  ['{} x', 'Expecting at most one JSON value'],
  ['{}{}', 'Expecting at most one JSON value'],
  ['{"a":"x', "JSON parse error, stray '\"x'"],
  ["{'a':'x", "JSON parse error, stray ''x'"],
  ['{"a":01}', "JSON parse error, stray '01'"],
  ['{"a":-}', "JSON parse error, stray '-}'"],
  ['{"a":1.}', "JSON parse error, stray '1.}'"],
  ['{"a":"\\q"}', 'JSON parse error, invalid escape sequence in string'],
  ['{"a":"\\u00"}', 'JSON parse error, \\u00" is not a valid Unicode character'],
  ['{"a":"\\ud800"}', 'JSON parse error, \\ud800 is not a valid Unicode character'],
  ['}', 'JSON parse error, expecting value'],
  [']', 'JSON parse error, expecting value'],
  ['{"a":]}', 'JSON parse error, expecting value'],
  ['{"a":1]', 'JSON parse error, expected separator in dict'],
  ['{"driver":"qcow2","driver":"raw"}', 'JSON parse error, duplicate key'],
  ['{"a":truex}', "JSON parse error, invalid keyword 'truex'"],
  ['{"a":%d}', "JSON parse error, stray '%'"],
  ['{"a":@}', "JSON parse error, stray '@'"],
  ['{"a":1e}', "JSON parse error, stray '1e}'"],
  ['{1:2}', 'JSON parse error, key is not a string in object'],
  ['{"a":{"b":1}', 'JSON parse error, premature EOI'],
  ['{,}', 'JSON parse error, expecting value'],
  ['{"a":1,,"b":2}', 'JSON parse error, expecting value'],
  [':', 'JSON parse error, expecting value'],
  [',', 'JSON parse error, expecting value'],
  ['foo', "JSON parse error, invalid keyword 'foo'"],
  ['&', "JSON parse error, stray '&'"],
  ['{"a":A}', "JSON parse error, stray 'A'"],
  ['{"a":1.5.5}', "JSON parse error, stray '.'"],
  ['{"a":1e+}', "JSON parse error, stray '1e+}'"],
  ['{"a":-01}', "JSON parse error, stray '-01'"],
  ['{"a":"\\u12g4"}', 'JSON parse error, \\u12g4 is not a valid Unicode character'],
  ['{"a":"\\udc00"}', 'JSON parse error, \\udc00 is not a valid Unicode character'],
  ['{"a":"x\ty"}', "JSON parse error, stray '\"x\t'"],
  ['{"a":"\\', "JSON parse error, stray '\"\\'"],
  ['{"a":"\\"}', 'JSON parse error, stray \'"\\"}\''],
  ['{"a":--1}', "JSON parse error, stray '--'"],
  ['{"a":.5}', "JSON parse error, stray '.'"],
  ['{"a":+1}', "JSON parse error, stray '+'"],
  ['{"a":nul}', "JSON parse error, invalid keyword 'nul'"],
  ['{"a":0x10}', 'JSON parse error, expected separator in dict'],
  ['{"a":1k}', 'JSON parse error, expected separator in dict'],
  ['{"a" @', "JSON parse error, stray '@'"],
  ['{@', "JSON parse error, stray '@'"],
  ['1 2', 'Expecting at most one JSON value'],
  ['{"a":0e5}', 'JSON parse error, expected separator in dict'],
  ['{"a":1ab}', 'JSON parse error, expected separator in dict'],
]

const ACCEPTED: readonly string[] = [
  '{}',
  '"x"',
  '1',
  'null',
  '{"a":"\\ud83d\\ude00"}',
  '[[1],{}]',
  '{"\\/":1}',
  '{"a":"é"}',
]

describe('JSON', () => {
  it('keeps whole numbers that would be rounded as text', () => {
    expect(parseJson('[9007199254740991,9007199254740992,-18446744073709551616,1e300]')).toEqual([
      9007199254740991,
      '9007199254740992',
      '-18446744073709551616',
      1e300,
    ])
  })

  it.each(ACCEPTED)('%s is read as everywhere', (text) => {
    expect(parseJson(text)).toEqual(JSON.parse(text))
  })

  it.each(REFUSED)('%j is refused', (text, message) => {
    expect(() => parseJson(text)).toThrow(new Error(message))
  })

  it('has strings in single quotes too', () => {
    expect(parseJson(String.raw`{'a':'b"\'','c':"\'\/\n\u00e9"}`)).toEqual({ a: `b"'`, c: `'/\n\u00e9` })
  })

  it('nests 1024 deep and no deeper', () => {
    const nested = (depth: number): string => '['.repeat(depth) + ']'.repeat(depth)
    expect(() => parseJson(nested(1024))).not.toThrow()
    expect(() => parseJson(nested(1025))).toThrow('JSON nesting depth limit exceeded')
  })
})
