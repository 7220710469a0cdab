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

  it('is one line', () => {
    expect(jsonText({ driver: 'raw', offset: '512', file: { list: [1, null] } })).toBe(
      '{"offset": "512", "driver": "raw", "file": {"list": [1, null]}}',
    )
  })

  it('escapes everything that is not printable ASCII', () => {
    expect(jsonText('a"\\\n\u0001ä\u{1f4be}\u007f')).toBe('"a\\"\\\\\\n\\u0001\\u00E4\\uD83D\\uDCBE\\u007F"')
  })
})
