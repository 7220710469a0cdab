import { describe, expect, it } from 'vitest'
import { readBytes, readLong } from './numbers.ts'

describe('sizes', () => {
  it.each<[string, bigint]>([
    ['4k', 4096n],
    ['9223372036854775807', 9223372036854775807n],
    ['0x7fffffffffffffff', 9223372036854775807n],
  ])('%s is %d', (text, expected) => {
    expect(readBytes(text)).toBe(expected)
  })

  it.each(['8E', '9223372036854775808', '18446744073709551616', '0xffffffffffffffff'])(
    '%s is too large',
    (text) => {
      expect(readBytes(text)).toBe('ERANGE')
    },
  )

  it('that are none are told apart from those', () => {
    expect(readBytes('-1')).toBe('EINVAL')
  })
})

describe('numbers of C', () => {
  it.each<[string, number]>([
    ['0', 0],
    ['-0', 0],
    ['010', 8],
    ['-1', -1],
  ])('%s is %d', (text, expected) => {
    expect(readLong(text)).toBe(expected)
  })

  it('are read whole or not at all', () => {
    expect(readLong('1k')).toBeUndefined()
  })
})
