import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { combinePaths, isAbsolutePath, pathName, protocolOf, resolveBackingFilename } from './paths.ts'

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

describe('on Windows', () => {
  const { platform } = process
  beforeAll(() => void Object.defineProperty(process, 'platform', { value: 'win32' }))
  afterAll(() => void Object.defineProperty(process, 'platform', { value: platform }))

  it.each([
    ['C:\\d\\ov.qcow2', 'base.qcow2', 'C:\\d\\base.qcow2'],
    ['C:/d/ov.qcow2', 'base.qcow2', 'C:/d/base.qcow2'],
    ['C:/d\\e/ov.qcow2', 'base.qcow2', 'C:/d\\e/base.qcow2'],
    ['C:/d/e\\ov.qcow2', 'base.qcow2', 'C:/d/e\\base.qcow2'],
    ['d\\ov.qcow2', 'base.qcow2', 'd\\base.qcow2'],
    ['d\\ov.qcow2', '..\\base.qcow2', 'd\\..\\base.qcow2'],
    ['\\\\server\\share\\ov.qcow2', 'base.qcow2', '\\\\server\\share\\base.qcow2'],
    ['//server/share/ov.qcow2', 'base.qcow2', '//server/share/base.qcow2'],
    ['C:\\d\\ov.qcow2', 'D:\\base.qcow2', 'D:\\base.qcow2'],
    ['C:\\d\\ov.qcow2', 'd:base.qcow2', 'd:base.qcow2'],
    ['C:\\d\\ov.qcow2', '\\base.qcow2', '\\base.qcow2'],
    ['C:\\d\\ov.qcow2', '/base.qcow2', '/base.qcow2'],
    ['C:\\d\\ov.qcow2', '\\\\server\\share\\base', '\\\\server\\share\\base'],
    ['C:\\d\\ov.qcow2', '\\\\.\\PhysicalDrive0', '\\\\.\\PhysicalDrive0'],
    ['C:\\d\\ov.qcow2', 'nbd:host:1', 'nbd:host:1'],
    ['file:C:\\d\\ov.qcow2', 'base.qcow2', 'file:C:\\d\\base.qcow2'],
    ['https://host/d/ov.qcow2', 'base.qcow2', 'https://host/d/base.qcow2'],
    // As in QEMU, the drive is lost.
    ['c:ov.qcow2', 'base.qcow2', 'base.qcow2'],
  ])('%s names %s: %s', (parent, name, expected) => {
    expect(resolveBackingFilename(parent, name)).toBe(expected)
  })

  it('takes no drive and no directory for a protocol', () => {
    for (const path of ['C:\\x', 'c:x', 'C:/x', 'd:', '\\\\.\\C:', '//./C:', '\\\\server\\a:b', 'd\\a:b'])
      expect([path, protocolOf(path), pathName(path)]).toEqual([path, undefined, path])
    expect([protocolOf('nbd:host'), pathName('base-10:00')]).toEqual(['nbd', './base-10:00'])
  })

  it('knows what is absolute', () => {
    expect(['C:\\x', 'c:x', '\\x', '/x', '\\\\s\\x'].filter(isAbsolutePath)).toHaveLength(5)
    expect(['x', 'd\\x', './c:x', 'nbd:x'].filter(isAbsolutePath)).toEqual([])
  })
})

describe('elsewhere', () => {
  it('takes drives for protocols, and backslashes for letters', () => {
    expect([protocolOf('C:\\x'), isAbsolutePath('\\x'), combinePaths('d\\ov', 'base')]).toEqual([
      'C',
      false,
      'base',
    ])
    expect(['a/b:c', 'a:b', './a:b', 'x'].map(pathName)).toEqual(['a/b:c', './a:b', './a:b', 'x'])
  })
})
