import { bool, integer, size, text } from '@vmblock/block-core/driver'
import { Failure } from '@vmblock/cli'
import { describe, expect, it } from 'vitest'
import {
  asksForHelp,
  optionHelp,
  optionList,
  optionValue,
  readOptionList,
  shownOptions,
} from './option-list.ts'

const warn = () => {}
const table = {
  cluster_size: size('Bytes of a cluster', 65536),
  lazy_refcounts: bool('Postpone', false),
  preallocation: text('Mode', 'off'),
  backing_file: text('Base'),
  refcount_bits: integer('Width', 16),
}
const read = (list: string) => readOptionList(list, table, warn)

describe('lists of options', () => {
  it('are joined, with their commas escaped', () => {
    const joined = ['a=b', 'c=d,,'].reduce<string | undefined>(
      (list, next) => optionList.read(next, warn, list),
      undefined,
    )
    expect(joined).toBe('a=b,c=d,,')
  })

  it.each(['', ',a', 'a,', 'a,,,'])('cannot be joined when they are %j', (list) => {
    expect(() => optionList.read(list, warn, undefined)).toThrow(new Failure(`Invalid option list: ${list}`))
  })

  it.each([
    ['help', true],
    ['a=b,help', true],
    ['?', true],
    ['help=1', false],
    ['nohelp', false],
    ['a=help', false],
    ['a=b,,help', false],
  ])('%j asks for help: %j', (list, asks) => {
    expect(asksForHelp(list)).toBe(asks)
  })

  it('let the last of equal names count, and pass over an id', () => {
    const given = read('cluster_size=1k,id=x,cluster_size=2k,backing_file=a,,b')
    expect([...given].map(([name, option]) => [name, optionValue(option)])).toEqual([
      ['cluster_size', 2048],
      ['backing_file', 'a,b'],
    ])
  })

  it('are shown in the order of the table, with defaults, as they were given', () => {
    expect(shownOptions(table, read('refcount_bits=-1,lazy_refcounts=yes,backing_file=a,,b'))).toBe(
      ' cluster_size=65536 lazy_refcounts=yes backing_file=a,,b refcount_bits=-1',
    )
  })

  it('are explained in columns', () => {
    expect(optionHelp({ b: bool('Yes or no'), a_rather_long_name_it_is: text('Text') })).toBe(
      '  a_rather_long_name_it_is=<str> - Text\n  b=<bool (on/off)>      - Yes or no\n',
    )
  })
})
