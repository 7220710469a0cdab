import { Output } from '@vmblock/cli'
import { describe, expect, it } from 'vitest'
import { requireSize } from './size-text.ts'

/** Output that records standard error. */
function listening() {
  const lines: string[] = []
  const output = new Output('qemu-img', { print() {}, error: (text) => void lines.push(text), flush() {} })
  return { lines, output }
}

describe('sizes on a command line', () => {
  it('are bytes', () => {
    expect(requireSize('image size', '64k', listening().output.warn)).toBe(65536n)
    expect(requireSize('image size', '9223372036854775807', listening().output.warn)).toBe(2n ** 63n - 1n)
  })

  it('are refused where they are none, or need the sign bit', () => {
    expect(() => requireSize('image size', '1kb', listening().output.warn)).toThrow(
      'Invalid image size specified. You',
    )
    expect(() => requireSize('image size', '8E', listening().output.warn)).toThrow(
      'Invalid image size specified. Must be between 0 and 9223372036854775807.',
    )
  })

  it('warn of a hexadecimal number with a suffix', () => {
    const { lines, output } = listening()
    expect(requireSize('image size', '0x10k', output.warn)).toBe(16384n)
    expect(lines).toEqual([
      'qemu-img: warning: Using a multiplier suffix on hex numbers is deprecated: 0x10k\n',
    ])
  })
})
