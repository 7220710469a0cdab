import { describe, expect, it } from 'vitest'
import { flattenOptions, mergeOptions, nestOptions, parseKeyValue } from './key-value.ts'

describe('key=value lists', () => {
  it.each([
    ['', {}],
    ['a=b', { a: 'b' }],
    ['a=b,c.d=e,c.f=', { a: 'b', c: { d: 'e', f: '' } }],
    ['a=x,,y,b=,,', { a: 'x,y', b: ',' }],
    ['a=1,a=2', { a: '2' }],
    ['a=b=c', { a: 'b=c' }],
    ['a=b,', { a: 'b' }],
    ['flag,noother', { flag: 'on', other: 'off' }],
    ['id=x,a=1', { a: '1' }],
    ['l.0.x=1,l.1.x=2', { l: { 0: { x: '1' }, 1: { x: '2' } } }],
    ['file=n,file.driver=raw', { file: 'n', 'file.driver': 'raw' }],
    ['file.driver=raw,file=n', { file: 'n', 'file.driver': 'raw' }],
  ])('%s', (text, tree) => {
    expect(parseKeyValue(text)).toEqual(tree)
  })

  it('give the first part the implied key, commas and all', () => {
    expect(parseKeyValue('a,,b,c=d', 'file')).toEqual({ file: 'a,b', c: 'd' })
    expect(parseKeyValue('a=b,c=d', 'file')).toEqual({ a: 'b', c: 'd' })
  })

  it('warn of keys without a value as QEMU does, but not of help', () => {
    const warnings: string[] = []
    parseKeyValue('nocache,x=1,help', undefined, (text) => warnings.push(text))
    expect(warnings).toEqual([
      "warning: short-form boolean option 'nocache' deprecated\nPlease use cache=off instead",
    ])
  })
})

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
