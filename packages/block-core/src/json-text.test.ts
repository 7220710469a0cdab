import { describe, expect, it } from 'vitest'
import { dictionaryEntries, jsonText } from './json-text.ts'

const keysOf = (object: object): string[] => dictionaryEntries(object).map(([key]) => key)

describe('JSON as QEMU prints it', () => {
  it('has the keys of an image in the order of QEMU 7.2, whatever order they were made in', () => {
    const measured = [
      'backing-filename-format',
      'virtual-size',
      'filename',
      'cluster-size',
      'format',
      'actual-size',
      'format-specific',
      'full-backing-filename',
      'backing-filename',
      'dirty-flag',
    ]
    expect(keysOf(Object.fromEntries(measured.toSorted().map((key) => [key, 1])))).toEqual(measured)
  })

  it('has the keys of a check in the order of QEMU 7.2', () => {
    const measured = [
      'image-end-offset',
      'compressed-clusters',
      'total-clusters',
      'check-errors',
      'allocated-clusters',
      'filename',
      'format',
      'fragmented-clusters',
    ]
    expect(keysOf(Object.fromEntries(measured.toSorted().map((key) => [key, 1])))).toEqual(measured)
  })

  it('leaves out what is not there', () => {
    expect(keysOf({ filename: 'a', leaks: undefined })).toEqual(['filename'])
  })

  it('indents by four spaces, and empty lists too', () => {
    expect(jsonText({ list: [], tree: { on: true } }, '')).toBe(
      '{\n    "tree": {\n        "on": true\n    },\n    "list": [\n    ]\n}',
    )
  })

  it('is one line where no indent is given', () => {
    expect(jsonText({ driver: 'raw', offset: '512', file: { list: [1, null] } })).toBe(
      '{"offset": "512", "driver": "raw", "file": {"list": [1, null]}}',
    )
  })

  it('escapes everything that is not printable ASCII', () => {
    expect(jsonText('a"\\\n\u0001ä\u{1f4be}\u007f')).toBe('"a\\"\\\\\\n\\u0001\\u00E4\\uD83D\\uDCBE\\u007F"')
  })
})

describe('bytes that are no UTF-8', () => {
  const escaped = (...bytes: number[]): string =>
    bytes.map((byte) => String.fromCharCode(byte < 0x80 ? byte : 0xdc00 + byte)).join('')

  it.each([
    // As QEMU 7.2 prints the names of backing files of these bytes.
    [[0x62, 0xff, 0xfe, 0x61, 0x73, 0xc3, 0x65], 'b\\uFFFD\\uFFFDas\\uFFFDe'],
    [[0xff, 0xe2, 0x82, 0xac], '\\uFFFD\\u20AC'],
    [[0xff, 0xf0, 0x9f, 0x98, 0x80], '\\uFFFD\\uD83D\\uDE00'],
    [[0xed, 0xa0, 0x80], '\\uFFFD'],
    [[0xe2, 0x82], '\\uFFFD'],
    [[0xe2, 0x82, 0x61], '\\uFFFDa'],
    [[0xc0, 0x80, 0xff], '\\u0000\\uFFFD'],
    [[0xc1, 0x81], '\\uFFFD'],
    [[0xf8, 0x88, 0x80, 0x80, 0x80], '\\uFFFD'],
    [[0xf4, 0x90, 0x80, 0x80], '\\uFFFD'],
    [[0x80, 0xbf], '\\uFFFD\\uFFFD'],
    [[0xef, 0xb7, 0x90, 0xff], '\\uFFFD\\uFFFD'],
    [[0xf0, 0x9f, 0xbf, 0xbe, 0xff], '\\uFFFD\\uFFFD'],
    [[0xfd, 0x80, 0x80], '\\uFFFD'],
    [[0xef, 0xbf, 0xbf, 0xff], '\\uFFFD\\uFFFD'],
  ])('%j', (bytes, expected) => {
    expect(jsonText(escaped(...bytes))).toBe(`"${expected}"`)
  })

  it('has no text for what is no character', () => {
    expect(jsonText('a\uffff\ufdd0\u{1fffe}b')).toBe('"a\\uFFFD\\uFFFD\\uFFFDb"')
  })

  it('are not taken for the halves of characters', () => {
    expect(jsonText('\u{1f480}')).toBe('"\\uD83D\\uDC80"')
  })
})
