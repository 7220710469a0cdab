import { describe, expect, it } from 'vitest'
import { visibleName, visibleText } from './visible.ts'

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

  it('of a text are its lines, and the progress that is written over', () => {
    expect(visibleText('a\n\tb\n')).toBe('a\n\tb\n')
    expect(visibleText('    (50.00/100%)\r')).toBe('    (50.00/100%)\r')
    expect(visibleText('a\rb\n')).toBe('a\\rb\n')
  })
})
