import { afterEach, describe, expect, it } from 'vitest'
import { BlockError } from '../base/errors.ts'
import { pathOfUrl } from './file-url.ts'

const { platform } = process
const on = (value: string): void => void Object.defineProperty(process, 'platform', { value })
afterEach(() => on(platform))

describe('the path of a URL', () => {
  it('on Windows', () => {
    on('win32')
    expect(pathOfUrl(new URL('file:///C:/a%20b/x'))).toBe('C:\\a b\\x')
    expect(pathOfUrl(new URL('file://server/share/x'))).toBe('\\\\server\\share\\x')
    expect(() => pathOfUrl(new URL('file:///a/x'))).toThrow(/names no drive/)
    expect(() => pathOfUrl(new URL('file:///C:/a%5cb'))).toThrow(/no path of a file/)
  })

  it('elsewhere', () => {
    on('linux')
    expect(pathOfUrl(new URL('file:///a%20b/%C3%A9:c'))).toBe('/a b/é:c')
    expect(pathOfUrl(new URL('https://host/a'))).toBeUndefined()
    for (const url of ['file://server/x', 'file:///a%2Fb', 'file:///a%00b', 'file:///a%FFb'])
      expect(() => pathOfUrl(new URL(url))).toThrow(BlockError)
  })
})
