/** What a driver throws that is no BlockError becomes one. */
import { describe, expect, it } from 'vitest'
import { BlockError, blockErrorOf } from './errors.ts'

describe('a thrown value as a BlockError', () => {
  it('is itself if it is one', () => {
    const error = new BlockError('ENOSPC', 'full')
    expect(blockErrorOf(error, 'Could not open image')).toBe(error)
  })

  it.each([
    [Object.assign(new Error('it is gone'), { code: 'ENOENT' }), 'ENOENT', 'it is gone'],
    [new Error('the tape is torn'), 'EIO', 'the tape is torn'],
    [Object.assign(new Error('wrong argument'), { code: 'ERR_INVALID_ARG' }), 'EIO', 'wrong argument'],
    ['a string', 'EIO', 'a string'],
    [undefined, 'EIO', 'undefined'],
    [null, 'EIO', 'null'],
  ])('has the code and the message of %s', (value, code, message) => {
    const error = blockErrorOf(value, 'Could not open image', 'disk')
    expect(error).toMatchObject({ code, message: `Could not open image: ${message}`, node: 'disk' })
    expect(error.cause ?? undefined).toBe(value ?? undefined)
  })
})
