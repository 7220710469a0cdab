import { describe, expect, it } from 'vitest'
import { factsText } from './facts-text.ts'

describe('facts of a format', () => {
  it('are nested by four spaces, with blanks for dashes', () => {
    expect(factsText({ 'lazy-refcounts': false, bitmaps: [{ name: 'b' }] })).toBe(
      '    lazy refcounts: false\n    bitmaps:\n        [0]:\n            name: b\n',
    )
  })
})
