import { describe, expect, it } from 'vitest'
import { jsonOutput } from './json-output.ts'

describe('bytes that are no UTF-8', () => {
  const escaped = (...bytes: number[]): string =>
    bytes.map((byte) => String.fromCharCode(byte < 0x80 ? byte : 0xdc00 + byte)).join('')

  it.each([
    // As QEMU 7.2 prints backing file names with these bytes.
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
    expect(jsonOutput(escaped(...bytes))).toBe(`"${expected}"\n`)
  })

  it('has no text for what is no character', () => {
    expect(jsonOutput('a\uffff\ufdd0\u{1fffe}b')).toBe('"a\\uFFFD\\uFFFD\\uFFFDb"\n')
  })

  it('are not taken for the halves of characters', () => {
    expect(jsonOutput('\u{1f480}')).toBe('"\\uD83D\\uDC80"\n')
  })
})

describe('several lines', () => {
  it('are indented by four spaces, and empty lists too', () => {
    expect(jsonOutput({ list: [], tree: { on: true } })).toBe(
      '{\n    "tree": {\n        "on": true\n    },\n    "list": [\n    ]\n}\n',
    )
  })

  it('are one where there is nothing to indent', () => {
    expect([jsonOutput('a'), jsonOutput(null), jsonOutput(7)]).toEqual(['"a"\n', 'null\n', '7\n'])
  })
})
