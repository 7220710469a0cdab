/** Descriptors: what is read of them, and what a new content id changes. */
import { describe, expect, it } from 'vitest'
import { descriptorText, looksLikeDescriptor, parseDescriptor, withCid } from './descriptor.ts'

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)
const HEAD = '# Disk DescriptorFile\nversion=1\n'

describe('a descriptor', () => {
  it('is read with spaces around =, after a comment with CID=, and in any order', () => {
    const text = `${HEAD}# old CID=1\r\nparentCID = 0000000a\r\nCID=4078ffb\r\ncreateType = "vmfs"\r\nRW 4 VMFS "a b.vmdk"\r\n`
    expect(parseDescriptor(bytes(text), true)).toEqual({
      cid: 0x4078ffb,
      parentCid: 10,
      createType: 'vmfs',
      parentName: undefined,
      extents: [
        {
          access: 'RW',
          sectors: 4,
          type: 'VMFS',
          filename: 'a b.vmdk',
          offset: undefined,
          text: 'RW 4 VMFS "a b.vmdk"',
        },
      ],
    })
  })

  it('ends at a zero byte, and has names of UTF-8 or of one byte for each character', () => {
    const text = `${HEAD}parentFileNameHint="ä"\nRW 1 FLAT "x" 0\n\0RW 1 FLAT "y" 0\n`
    expect(parseDescriptor(bytes(text), true)).toMatchObject({ parentName: 'ä', extents: [{ offset: 0 }] })
    const latin = Uint8Array.from(`${HEAD}parentFileNameHint="ä"\n`, (each) => each.charCodeAt(0))
    expect(parseDescriptor(latin, true).parentName).toBe('ä')
  })

  it.each([
    'RW 1 FLAT "x"',
    'RW 1 FLAT "x" -1',
    'RW x FLAT "x" 0',
    'RW 1 SPARSE',
    'RW 1 SPARSE ""',
    'RW 99999999999999999 FLAT "x" 0',
  ])('with the line %s is refused, unless its extents do not count', (line) => {
    expect(() => parseDescriptor(bytes(`${HEAD}${line}\n`), true)).toThrow(line)
    expect(parseDescriptor(bytes(`${HEAD}${line}\n`), false).extents).toEqual([])
  })

  it('with a wrong content id is refused', () => {
    expect(() => parseDescriptor(bytes(`${HEAD}CID=xyz\n`), true)).toThrow("CID is no number: 'xyz'")
  })

  it.each([
    [HEAD, true],
    ['# a\n   \nversion=3\r\n', true],
    ['version=4\n', false],
    ['version = 1\n', false],
    ['\nversion=1\n', false],
    ['version=1', false],
    ['', false],
  ])('%j is recognised: %s', (text, isOne) => {
    expect(looksLikeDescriptor(bytes(text))).toBe(isOne)
  })
})

describe('a new content id', () => {
  const change = (text: string, cid: number, most = 1000) => {
    const space = new Uint8Array(most)
    space.set(bytes(text))
    const made = withCid(space, cid, most)
    if (made) space.set(made.bytes, made.offset)
    return { made, text: new TextDecoder().decode(space).replace(/\0+$/, '') }
  }

  it('replaces the old one alone, even behind the id of the parent', () => {
    const text = `${HEAD}# CID=1\nparentCID=12345678\nCID=87654321\nx\n`
    expect(change(text, 0xabc)).toMatchObject({ text: text.replace('87654321', '00000abc') })
  })

  it('of the same length changes only the sectors with its digits', () => {
    const text = `${`#${'-'.repeat(600)}`}\nversion=1\nCID=11111111\n${'#'.repeat(2000)}\n`
    const { made } = change(text, 0x22222222, 4096)
    expect([made!.offset, made!.bytes.length]).toEqual([512, 512])
  })

  it('that is longer moves what follows, if there is room', () => {
    const text = `${HEAD}CID=ab\nrest\n`
    expect(change(text, 0x12345678).text).toBe(text.replace('ab', '12345678'))
    expect(() => change(text, 0x12345678, text.length)).toThrow('no room')
    expect(change(text, 5).text).toBe(text.replace('ab', '05'))
  })

  it('is not made up where there was none', () => {
    expect(change(HEAD, 5).made).toBeUndefined()
  })
})

it('a new descriptor counts cylinders by the heads of its adapter', () => {
  const base = {
    cid: 0x123,
    parentCid: 0xffffffff,
    createType: 'monolithicSparse',
    parentName: undefined,
    extents: ['RW 8 SPARSE "a"'],
    hardwareVersion: '4',
    adapterType: 'ide',
    toolsVersion: '1',
    size: 100 * 63 * 16 * 512,
  }
  expect(descriptorText(base)).toContain('CID=123\nparentCID=ffffffff\n')
  expect(descriptorText(base)).toContain('cylinders = "100"')
  expect(descriptorText({ ...base, adapterType: 'buslogic' })).toContain('cylinders = "6"')
  expect(parseDescriptor(bytes(descriptorText({ ...base, parentName: 'p' })), true)).toMatchObject({
    parentName: 'p',
    extents: [{ sectors: 8 }],
  })
})
