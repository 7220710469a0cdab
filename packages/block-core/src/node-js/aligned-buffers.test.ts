import { afterEach, describe, expect, it, vi } from 'vitest'
import { allocateAligned } from './aligned-buffers.ts'

afterEach(() => vi.unstubAllGlobals())

describe('page-aligned memory', () => {
  it('that cannot be had is told by what it is for', () => {
    vi.stubGlobal('WebAssembly', {
      Memory: function refuse() {
        throw new RangeError('could not allocate memory')
      },
    })
    expect(() => allocateAligned(4096)).toThrow(
      expect.objectContaining({ code: 'ENOMEM', message: expect.stringContaining('O_DIRECT needs') }),
    )
  })

  it.each([Number.NaN, -1, '4096', undefined])('of %s bytes is refused', (bytes) => {
    expect(() => allocateAligned(bytes as never)).toThrow(expect.objectContaining({ code: 'EINVAL' }))
  })
})
