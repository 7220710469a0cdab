import { describe, expect, it } from 'vitest'
import { bool, integer, listOf, oneOf, parseOptions, parseSize, size, text } from './options.ts'

// Every row was measured with QEMU 7.2.22.
describe('sizes', () => {
  it.each<[string, number | undefined]>([
    ['1k', 1024],
    ['1K', 1024],
    ['1b', 1],
    ['+512', 512],
    [' 512', 512],
    ['07', 7],
    ['5.', 5],
    ['5.k', 5120],
    ['1.5k', 1536],
    ['1.0000001k', 1024],
    ['1.0005k', 1025],
    ['0x200', 512],
    ['0x10b', 0x10b],
    ['0x1k', 1024],
    ['8P', 2 ** 53],
    ['7.99999999999999999999E', 7 * 2 ** 60],
    ['8E', Number.POSITIVE_INFINITY],
    ['18446744073709551616', Number.POSITIVE_INFINITY],
    ['', undefined],
    ['512 ', undefined],
    ['-1', undefined],
    ['.5k', undefined],
    ['0.5', undefined],
    ['1.5', undefined],
    ['1e3', undefined],
    ['1e3k', undefined],
    ['1kB', undefined],
    ['0x', undefined],
    ['0x1.8k', undefined],
    ['0b1', undefined],
    ['inf', undefined],
  ])('%j is %s', (written, bytes) => {
    expect(parseSize(written)).toBe(bytes)
  })

  it('as options are refused in QEMU words, and never rounded', () => {
    const parse = (value: unknown) => size('').parse(value, 'size')
    expect(parse('1M')).toBe(1048576)
    expect(parse(512)).toBe(512)
    expect(() => parse('1x')).toThrow(
      "Parameter 'size' expects a non-negative number below 2^64\nOptional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\nand exabytes, respectively.",
    )
    expect(() => parse(true)).toThrow("Parameter 'size' expects a non-negative number below 2^64")
    expect(() => parse('16E')).toThrow("Value '16E' is out of range for parameter 'size'")
    expect(() => parse('9007199254740993')).toThrow("Parameter 'size' exceeds 2^53-1: '9007199254740993'")
    expect(() => parse(0.5)).toThrow("Parameter 'size' expects a number")
  })
})

describe('numbers', () => {
  it.each<[unknown, number]>([
    ['5', 5],
    ['0x10', 16],
    ['010', 8],
    [' +5', 5],
    [7, 7],
  ])('%j is %d', (written, number) => {
    expect(integer('').parse(written, 'n')).toBe(number)
  })
  it.each<[unknown, string]>([
    ['5 ', "Parameter 'n' expects a number"],
    ['5x', "Parameter 'n' expects a number"],
    ['08', "Parameter 'n' expects a number"],
    ['', "Parameter 'n' expects a number"],
    ['0x', "Parameter 'n' expects a number"],
    [1.5, "Parameter 'n' expects a number"],
    [true, "Parameter 'n' expects a number"],
    ['18446744073709551616', "Value '18446744073709551616' is too large for parameter 'n'"],
    ['-1', "Parameter 'n' exceeds 2^53-1: '-1'"],
  ])('%j is refused', (written, message) => {
    expect(() => integer('').parse(written, 'n')).toThrow(message)
  })
})

describe('option tables', () => {
  const table = {
    lazyRefcounts: bool('lazy', false),
    mode: oneOf(['off', 'full'], 'mode'),
    name: text('name'),
    rules: listOf({ event: text('event'), once: bool('once', true) }, 'rules'),
  }

  it('take both spellings of keys, and fill in defaults', () => {
    expect(parseOptions(table, {})).toEqual({ lazyRefcounts: false })
    expect(parseOptions(table, { 'lazy-refcounts': 'on', mode: 'full' })).toEqual({
      lazyRefcounts: true,
      mode: 'full',
    })
    expect(parseOptions(table, { lazyRefcounts: true, name: undefined })).toEqual({ lazyRefcounts: true })
  })

  it('take lists as arrays and as numbered keys', () => {
    const rules = [
      { event: 'a', once: true },
      { event: 'b', once: false },
    ]
    expect(parseOptions(table, { rules: [{ event: 'a' }, { event: 'b', once: 'off' }] }).rules).toEqual(rules)
    expect(
      parseOptions(table, { rules: { 0: { event: 'a' }, 1: { event: 'b', once: 'off' } } }).rules,
    ).toEqual(rules)
    expect(() => parseOptions(table, { rules: { 1: {} } })).toThrow("Parameter 'rules.0' missing")
  })

  it('refuse what they do not know', () => {
    expect(() => parseOptions(table, { foo: 1 })).toThrow("Invalid parameter 'foo'")
    expect(() => parseOptions(table, { constructor: 1 })).toThrow("Invalid parameter 'constructor'")
    expect(() => parseOptions(table, { rules: [{ foo: 1 }] })).toThrow("Invalid parameter 'rules.0.foo'")
    expect(() => parseOptions(table, { mode: 'x' })).toThrow("Parameter 'mode' does not accept value 'x'")
    expect(() => parseOptions(table, { name: 5 })).toThrow("Parameter 'name' expects a string, not 5")
    expect(() => parseOptions(table, { lazyRefcounts: 1 })).toThrow(
      "Parameter 'lazyRefcounts' expects 'on' or 'off'",
    )
  })
})
