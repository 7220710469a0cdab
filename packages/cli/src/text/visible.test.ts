import { describe, expect, it } from 'vitest'
import { visibleMessage, visibleName, visibleText } from './visible.ts'

describe('what a terminal is given', () => {
  it.each([
    ['plain.qcow2', 'plain.qcow2'],
    ['größer 磁盘 👩‍💻', 'größer 磁盘 👩‍💻'],
    ['\x1b]0;owned\x07', '\\u{1b}]0;owned\\u{7}'],
    ['a\x9b31mb\x7f', 'a\\u{9b}31mb\\u{7f}'],
    ['exe.\u202egpj', 'exe.\\u{202e}gpj'],
    ['\u2066a\u2069\u2028b', '\\u{2066}a\\u{2069}\\u{2028}b'],
    ['\udcff', '\\u{dcff}'],
  ])('of %j is %j', (text, shown) => {
    expect(visibleName(text)).toBe(shown)
    expect(visibleText(text)).toBe(shown)
  })

  it('of a name is one line', () => {
    expect(visibleName('a\nvirtual size: 1\r\tb')).toBe('a\\nvirtual size: 1\\r\\tb')
  })

  it.each([
    ["Could not open 'a\nqemu-img: all is well': no\n", "Could not open 'a\\nqemu-img: all is well': no\n"],
    ['a\n\nb\n', 'a\\n\\nb\n'],
    ['a\n', 'a\n'],
    ['a', 'a'],
    ['a\nb', 'a\\nb'],
    ['\x1b[2J\n', '\\u{1b}[2J\n'],
    [
      'Failed to get "write" lock\nIs another process using the image [a\nb]?\n',
      'Failed to get "write" lock\nIs another process using the image [a\\nb]?\n',
    ],
    [
      'Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\nand exabytes, respectively.\n',
      'Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\nand exabytes, respectively.\n',
    ],
  ])('of message %j is %j', (text, shown) => {
    expect(visibleMessage(text)).toBe(shown)
  })

  it('of a text are its lines, and the progress that is written over', () => {
    expect(visibleText('a\n\tb\n')).toBe('a\n\tb\n')
    expect(visibleText('    (50.00/100%)\r')).toBe('    (50.00/100%)\r')
    expect(visibleText('a\rb\n')).toBe('a\\rb\n')
  })
})
