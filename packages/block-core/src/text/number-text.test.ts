import { describe, expect, it, vi } from 'vitest'
import { readInteger, readSize, readUnsigned } from './number-text.ts'

describe('sizes', () => {
  it.each<[string, bigint]>([
    ['0', 0n],
    ['512', 512n],
    ['+1', 1n],
    ['08', 8n],
    ['1b', 1n],
    ['1B', 1n],
    ['4k', 4096n],
    ['4K', 4096n],
    ['1.5k', 1536n],
    ['1.k', 1024n],
    ['1.', 1n],
    ['1.0', 1n],
    ['0.1k', 102n],
    ['0.0000000000000001E', 115n],
    ['1.5e', 1729382256910270464n],
    ['0x1b', 27n],
    ['0X1f', 31n],
    ['0x1k', 1024n],
    ['0x1E', 30n],
    ['18446744073709551615', 18446744073709551615n],
    ['0xffffffffffffffff', 18446744073709551615n],
    ['15E', 15n << 60n],
    [' 1', 1n],
    ['0.3M', 314573n],
    // 0.99... is 1.0 as a double, which becomes 0 in 64 bits, as in QEMU.
    ['1.9999999999999999999k', 1024n],
  ])('%s is %d', (text, expected) => {
    expect(readSize(text)).toBe(expected)
  })

  it.each([
    '',
    'k',
    '.5k',
    '.',
    '-1',
    '-0',
    '1e3',
    '1.5',
    '1.5b',
    '1kB',
    '1KiB',
    '0x',
    '0x1.8',
    '00x1',
    '1.5e1k',
    '1.inf',
    '1 ',
    '1Z',
  ])('%j is not a size', (text) => {
    expect(readSize(text)).toBe('EINVAL')
  })

  it.each(['16E', '18446744073709551616', '0x10000000000000000', '-99999999999999999999'])(
    '%s is too large',
    (text) => {
      expect(readSize(text)).toBe('ERANGE')
    },
  )

  it.each<[string, number]>([
    ['0x1k', 1],
    ['0x1kk', 1],
    ['0x1', 0],
    ['1k', 0],
  ])('%s warns of a multiplier after hexadecimal digits %d times', (text, times) => {
    const warn = vi.fn()
    readSize(text, warn)
    expect(warn).toHaveBeenCalledTimes(times)
  })
})

describe('whole numbers', () => {
  it.each<[string, bigint]>([
    ['0', 0n],
    ['-0', 0n],
    ['10', 10n],
    ['010', 8n],
    ['0x10', 16n],
    ['+5', 5n],
    ['-1', -1n],
  ])('%s is %d', (text, expected) => {
    expect(readInteger(text)).toBe(expected)
    expect(readUnsigned(text)).toBe(BigInt.asUintN(64, expected))
  })

  it.each(['', '08', '0x', '0xg', 'a', '1.5', '1k', '--1'])('%j is none', (text) => {
    expect(readInteger(text)).toBeUndefined()
    expect(readUnsigned(text)).toBe('EINVAL')
  })

  it.each(['99999999999999999999', '-18446744073709551616'])('%s is more than 64 bits hold', (text) => {
    expect(readUnsigned(text)).toBe('ERANGE')
  })
})
