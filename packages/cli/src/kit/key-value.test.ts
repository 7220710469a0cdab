import { describe, expect, it } from 'vitest'
import { readOptionTree } from './key-value.ts'

const ignore = (): void => undefined

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
    expect(readOptionTree(text, ignore)).toEqual(tree)
  })

  it('give the first part the implied key, commas and all', () => {
    expect(readOptionTree('a,,b,c=d', ignore, 'file')).toEqual({ file: 'a,b', c: 'd' })
    expect(readOptionTree('a=b,c=d', ignore, 'file')).toEqual({ a: 'b', c: 'd' })
  })

  it('warn of keys without a value as QEMU does, but not of help', () => {
    const warnings: string[] = []
    readOptionTree('nocache,x=1,help', (text) => warnings.push(text))
    expect(warnings).toEqual(["short-form boolean option 'nocache' deprecated\nPlease use cache=off instead"])
  })
})
