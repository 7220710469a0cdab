/** The permissions that reach a protocol. tests/interop/locks.test.ts compares them with QEMU's locks. */
import { beforeEach, describe, expect, it } from 'vitest'
import { BlockError } from '../base/errors.ts'
import { cow, data, filtered, metadata, sharedStorage, storage } from '../contract/child-kinds.ts'
import { defineDriver } from '../contract/driver.ts'
import { denyHost } from '../contract/image-resolver.ts'
import type { Permissions } from '../contract/permissions.ts'
import { PERMISSION } from '../contract/permissions.ts'
import { DriverRegistry } from '../contract/registry.ts'
import { copyOnRead } from '../drivers/copy-on-read.ts'
import { forwardOps, passThrough } from '../drivers/pass-through.ts'
import { commitNode } from '../jobs/commit.ts'
import { Job } from '../jobs/job.ts'
import { openNode } from '../open/open.ts'
import { reopenNode } from '../open/reopen.ts'
import { bool, type RawOptions, text } from '../text/options.ts'

const { consistentRead, write, writeUnchanged, resize } = PERMISSION
const LETTERS = [
  [consistentRead, 'c'],
  [write, 'w'],
  [writeUnchanged, 'u'],
  [resize, 'r'],
] as const
const letters = (bits: number): string => LETTERS.map(([bit, letter]) => (bits & bit ? letter : '-')).join('')

/** The last permissions of each protocol node, as `taken shared`, and which of them to refuse. */
const told = new Map<string, string>()
let refusing: ((name: string, wanted: Permissions) => boolean) | undefined
beforeEach(() => {
  told.clear()
  refusing = undefined
})

const storing = defineDriver({
  name: 'storing',
  kind: 'protocol',
  options: { name: text('') },
  async open({ options: { name = '' } }) {
    const bytes = new Uint8Array(8192)
    return {
      size: () => bytes.length,
      read: async (offset, into) => into.set(bytes.subarray(offset, offset + into.length)),
      write: async (offset, from) => bytes.set(from, offset),
      preparePermissions(wanted) {
        if (refusing?.(name, wanted)) throw new BlockError('EBUSY', `${name} is busy`)
        return {
          commit: () => void told.set(name, `${letters(wanted.taken)} ${letters(wanted.shared)}`),
          abort() {},
        }
      },
      close: async () => void told.delete(name),
      crash: () => void told.delete(name),
    }
  },
})

/** A format that keeps tables of its file; with `full` off, it holds nothing itself. */
const tables = defineDriver({
  name: 'tables',
  kind: 'format',
  children: { file: storage, backing: cow, 'data-file': data },
  options: { full: bool('', true) },
  async open(context) {
    const child = await context.requireChild('file')
    await context.child('data-file')
    const backing = await context.child('backing')
    return {
      ...forwardOps(child),
      ...(backing && {
        blockStatus: async (_offset: number, bytes: number) => ({
          bytes,
          allocated: context.options.full,
          data: true,
          zero: false,
        }),
      }),
    }
  },
})
const plain = defineDriver({
  name: 'plain',
  kind: 'format',
  children: { file: sharedStorage((options) => 'offset' in options) },
  options: { offset: text('') },
  open: async (context) => forwardOps(await context.requireChild('file')),
})
const logging = defineDriver({
  name: 'logging',
  kind: 'filter',
  children: { file: filtered, log: metadata },
  async open(context) {
    await context.requireChild('log')
    return forwardOps(await context.requireChild('file'))
  },
})

const registry = new DriverRegistry([storing, tables, plain, passThrough, copyOnRead, logging])
const environment = { registry, host: denyHost }
const open = (options: RawOptions) => openNode(environment, options)
const at = (name: string, more: RawOptions = {}): RawOptions => ({ driver: 'storing', name, ...more })
const on = (driver: string, file: RawOptions, more: RawOptions = {}): RawOptions => ({
  driver,
  file,
  ...more,
})
const readOnly = { 'read-only': true }

const SCENES: Readonly<Record<string, readonly [options: RawOptions, expected: Record<string, string>]>> = {
  'a user alone': [at('a'), { a: 'cw-- cwur' }],
  'a reader alone': [at('a', readOnly), { a: 'c--- cwur' }],
  'a format that shares its file': [on('plain', at('a')), { a: 'cw-- cwur' }],
  'a window of a file, which is not to be shortened': [
    on('plain', at('a'), { offset: '512' }),
    { a: 'cw-- cwu-' },
  ],
  'a format with tables': [on('tables', at('a')), { a: 'cw-r c-u-' }],
  'a format with tables that is only read': [on('tables', at('a'), readOnly), { a: 'c--- c-u-' }],
  'a filter, which is as what is above it': [on('tables', on('pass-through', at('a'))), { a: 'cw-r c-u-' }],
  'a filter on top': [on('pass-through', on('plain', at('a'))), { a: 'cw-- cwur' }],
  'a filter that writes by itself': [on('copy-on-read', on('tables', at('a'))), { a: 'cwur c-u-' }],
  'a log, which is kept from others': [
    on('logging', at('a'), { log: at('b') }),
    { a: 'cw-- cwur', b: 'cw-r c-u-' },
  ],
  'a data file, which grows with what is written': [
    on('tables', at('a'), { 'data-file': at('b') }),
    { a: 'cw-r c-u-', b: 'cw-r cwu-' },
  ],
  'a backing file that shares, and one that does not': [
    on('tables', at('a'), { backing: on('tables', at('b'), { backing: on('plain', at('c')) }) }),
    { a: 'cw-r c-u-', b: 'c--- c-u-', c: 'c--- cwur' },
  ],
  'no user minded': [on('tables', at('a'), { ...readOnly, 'force-share': true }), { a: 'c--- cwur' }],
}

describe('a file is told', () => {
  it.each(Object.entries(SCENES))('%s', async (_, [options, expected]) => {
    const node = await open(options)
    expect(Object.fromEntries(told)).toEqual(expected)
    await node.close()
    expect(told.size).toBe(0)
  })

  it('nothing by a user that only looks at it, until it is used', async () => {
    const seen: string[] = []
    refusing = (name) => {
      seen.push(name)
      return true
    }
    await expect(open(on('tables', at('a')))).rejects.toMatchObject({ code: 'EBUSY', message: 'a is busy' })
    expect(seen).toEqual(['a'])
    expect(told.size).toBe(0)
  })
})

describe('when something changes', () => {
  it('the right to write is asked for, and given back', async () => {
    const node = await open(on('tables', at('a'), readOnly))
    await reopenNode(node, { readOnly: false })
    expect(told.get('a')).toBe('cw-r c-u-')
    await reopenNode(node, { readOnly: true })
    expect(told.get('a')).toBe('c--- c-u-')
    refusing = (_, { taken }) => (taken & write) !== 0
    await expect(reopenNode(node, { readOnly: false })).rejects.toMatchObject({ code: 'EBUSY' })
    expect([told.get('a'), node.readOnly]).toEqual(['c--- c-u-', true])
    await node.close()
  })

  it('several uses of one node are told as one, and each end is told', async () => {
    const shared = await open(at('a', readOnly))
    const [one, two] = [
      await open(on('tables', shared as never, readOnly)),
      await open(on('plain', shared as never, readOnly)),
    ]
    expect(told.get('a')).toBe('c--- c-u-')
    await one.close()
    expect(told.get('a')).toBe('c--- cwur')
    await two.crash()
    expect(told.get('a')).toBe('c--- cwur')
    await shared.close()
  })

  it('a child that shall replace another is asked for first', async () => {
    const node = await open(on('tables', at('a')))
    const other = await open(at('b', { 'node-name': 'other' }))
    refusing = (name) => name === 'b'
    await expect(reopenNode(node, { options: { file: 'other' } })).rejects.toThrow('b is busy')
    expect([told.get('a'), told.get('b'), node.file?.node.driver.name]).toEqual([
      'cw-r c-u-',
      'cw-- cwur',
      'storing',
    ])
    expect(other.hasParents).toBe(false)
    refusing = undefined
    await reopenNode(node, { options: { file: 'other' } })
    expect([told.get('a'), told.get('b')]).toEqual([undefined, 'cw-r c-u-'])
    await node.close()
    expect(told.get('b')).toBe('cw-- cwur')
    await other.close()
  })

  it('a base that is committed into is written, and not resized by others', async () => {
    const node = await open(on('tables', at('a'), { backing: on('plain', at('b')) }))
    let during: string | undefined
    const onProgress = (): void => {
      during = told.get('b')
    }
    await new Job((control) => commitNode(node, { makeEmpty: false }, control), { onProgress }).done
    expect(during).toBe('cw-- cwu-')
    expect(told.get('b')).toBe('c--- cwur')
    await node.close()
  })
})
