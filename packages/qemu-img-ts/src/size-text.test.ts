import { describe, expect, it } from 'vitest'
import { readNumber, readSize } from './size-text.ts'

const quiet = (): void => {}

describe('sizes on a command line', () => {
  it.each([
    ['0', 0n],
    ['1b', 1n],
    ['64k', 65536n],
    [' 1', 1n],
    ['+5', 5n],
    ['1.5k', 1536n],
    ['1.k', 1024n],
    ['0.5E', 1n << 59n],
    ['0x10', 16n],
    ['0x1e', 30n],
    ['007', 7n],
    ['7E', 7n << 60n],
    ['15E', 15n << 60n],
    ['0.3M', 314573n],
    ['18446744073709551615', 18446744073709551615n],
  ])('%j is %d bytes', (text, bytes) => {
    expect(readSize(text, quiet)).toBe(bytes)
  })

  it.each(['', '-1', 'x', '.5k', '1e3', '1 ', '1kb', '1.5', '1.5b', '0x', '0x1.5k', '1Z'])(
    '%j is none',
    (text) => {
      expect(readSize(text, quiet)).toBe('EINVAL')
    },
  )

  it.each(['16E', '18446744073709551616', '99999999999999999999'])('%s is more than 64 bits hold', (text) => {
    expect(readSize(text, quiet)).toBe('ERANGE')
  })

  it('warns of a hexadecimal number with a suffix', () => {
    const warnings: string[] = []
    expect(readSize('0x10k', (line) => warnings.push(line))).toBe(16384n)
    expect(warnings).toEqual(['Using a multiplier suffix on hex numbers is deprecated: 0x10k'])
  })
})

describe('numbers on a command line', () => {
  it.each([
    ['16', 16n],
    ['0x10', 16n],
    ['010', 8n],
    ['0', 0n],
    ['-1', 18446744073709551615n],
  ])('%s is %d', (text, number) => {
    expect(readNumber(text)).toBe(number)
  })

  it.each([
    ['x', 'EINVAL'],
    ['', 'EINVAL'],
    ['08', 'EINVAL'],
    ['99999999999999999999', 'ERANGE'],
  ])('%j is refused: %s', (text, mistake) => {
    expect(readNumber(text)).toBe(mistake)
  })
})
