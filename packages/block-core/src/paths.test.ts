import { describe, expect, it } from 'vitest'
import { combinePaths, resolveBackingFilename } from './paths.ts'

describe('combinePaths', () => {
  it.each([
    ['disk.qcow2', 'base.raw', 'base.raw'],
    ['dir/disk.qcow2', 'base.raw', 'dir/base.raw'],
    ['dir/disk.qcow2', '../base.raw', 'dir/../base.raw'],
    ['/a/b/disk.qcow2', 'c/base.raw', '/a/b/c/base.raw'],
    ['/a/b/disk.qcow2', '/base.raw', '/base.raw'],
    ['file:disk.qcow2', 'base.raw', 'file:base.raw'],
    ['file:dir/disk.qcow2', 'base.raw', 'file:dir/base.raw'],
    ['https://host/dir/disk.qcow2', 'base.raw', 'https://host/dir/base.raw'],
    ['dir:x/disk.qcow2', 'base.raw', 'dir:x/base.raw'],
    ['dir/a:b', 'base.raw', 'dir/base.raw'],
    ['dir/disk.qcow2', '', 'dir/'],
  ])('%s names %s: %s', (base, name, expected) => {
    expect(combinePaths(base, name)).toBe(expected)
  })
})

describe('resolveBackingFilename', () => {
  it('leaves absolute names and those with a protocol as they are', () => {
    expect(resolveBackingFilename('dir/disk', '/base')).toBe('/base')
    expect(resolveBackingFilename('dir/disk', 'nbd:host:1')).toBe('nbd:host:1')
    expect(resolveBackingFilename('dir/disk', 'json:{"driver":"null-co"}')).toBe('json:{"driver":"null-co"}')
    expect(resolveBackingFilename('', '/base')).toBe('/base')
  })

  it('takes a colon behind a slash for part of a path', () => {
    expect(resolveBackingFilename('dir/disk', './a:b')).toBe('dir/./a:b')
  })

  it('has no answer for an empty name', () => {
    expect(resolveBackingFilename('dir/disk', '')).toBeUndefined()
  })

  it('refuses a relative name where there is nothing to be relative to', () => {
    expect(() => resolveBackingFilename('json:{"driver":"qcow2"}', 'base')).toThrow(
      `Cannot use relative backing file names for 'json:{"driver":"qcow2"}'`,
    )
    expect(() => resolveBackingFilename('', 'base')).toThrow(`Cannot use relative backing file names for ''`)
  })
})
