import { describe, expect, it } from 'vitest'
import { flattenOptions, mergeOptions, nestOptions } from './option-tree.ts'

describe('option trees', () => {
  it('join dotted and nested keys in QEMU spelling, and leave lists and objects alone', () => {
    const bytes = new Uint8Array(1)
    expect(nestOptions({ 'a.bC': 1, a: { dE: 2, 'f.g': [{ hI: 1 }] }, none: undefined, bytes })).toEqual({
      a: { 'b-c': 1, 'd-e': 2, f: { g: [{ hI: 1 }] } },
      bytes,
    })
  })

  it('flatten to dotted keys', () => {
    expect([...flattenOptions({ a: { b: { c: 1 } }, d: null, e: {} })]).toEqual([
      ['a.b.c', 1],
      ['d', null],
    ])
  })

  it('merge deeply, the second over the first', () => {
    expect(mergeOptions({ a: { b: 1, c: 1 }, d: 1 }, { a: { c: 2 }, d: { e: 2 } })).toEqual({
      a: { b: 1, c: 2 },
      d: { e: 2 },
    })
  })
})
