/** New images: nothing is made before options are checked, no data is replaced unasked, nothing is left behind. */
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { BlockError } from '../base/errors.ts'
import { cow, data, storage } from '../contract/child-kinds.ts'
import { type AnyDriver, defineDriver } from '../contract/driver.ts'
import { denyHost } from '../contract/image-resolver.ts'
import type { BlockNode } from '../contract/node.ts'
import { DriverRegistry } from '../contract/registry.ts'
import { memory, openMemory } from '../drivers/memory.ts'
import { nullCo } from '../drivers/null-co.ts'
import { forwardOps } from '../drivers/pass-through.ts'
import { fileDriver } from '../node-js/file.ts'
import { ScratchFiles } from '../node-js/scratch-files.ts'
import { bool, type RawOptions, size, text } from '../text/options.ts'
import { createImage } from './create-image.ts'
import { openNode } from './open.ts'

const MARK = 0x5a
const SECTOR = 512
let scratch: ScratchFiles
let directory: string
beforeEach(() => {
  scratch = new ScratchFiles()
  directory = scratch.directory
  formatted = []
})
afterEach(() => scratch.remove())
const path = (name: string): string => join(directory, name)

/** What `create` of the format got, and what it does last: fails, in some tests. */
let formatted: { readonly options: RawOptions; readonly filename: string; readonly driver: string }[]
let last: ((file: BlockNode) => Promise<void>) | undefined
afterEach(() => {
  last = undefined
})

/** What `create` was told of itself and of the backing file, if it asked. */
let described: unknown

/** A format whose images are a sector of this byte, and the size of the disk of zeroes. */
const sectors = defineDriver({
  name: 'sectors',
  kind: 'format',
  children: { file: storage, backing: cow, 'data-file': data },
  open: async (context) => forwardOps(await context.requireChild('file')),
  creation: async () => ({
    options: {
      size: size('Size'),
      backing_file: text('Backing'),
      backing_fmt: text('Its format'),
      data_file: text('Data'),
      preallocation: text('Preallocation'),
      lazy_refcounts: bool('Lazy'),
      further: text('Further files'),
      describe: bool('Look at the backing file'),
    },
    async check({ size: bytes }) {
      if (bytes === undefined) throw new BlockError('EINVAL', 'no size')
    },
    furtherFiles: ({ further }) => (further === undefined ? [] : [`${further}-1`, `${further}-2`]),
    async create({ file, filename, dataFile, further = [], options, describeBacking }) {
      formatted.push({ options, filename: file.filename, driver: file.driver.name })
      if (options.describe) described = { filename, backing: await describeBacking?.() }
      for (const [i, each] of further.entries()) await each.write(0, new Uint8Array(SECTOR).fill(i + 1))
      await file.write(0, new Uint8Array(SECTOR).fill(MARK))
      if (options.size) await file.truncate(SECTOR + options.size)
      await dataFile?.truncate(options.size ?? 0)
      await last?.(file)
    },
  }),
})
/** Counts the writes of files, and fails them on request. */
let writes: number[]
let failure: (() => Error) | undefined
const watched = (driver: AnyDriver): AnyDriver => ({
  ...driver,
  async open(context) {
    const ops = await driver.open(context)
    const write = ops.write!.bind(ops)
    ops.write = async (offset, from, flags) => {
      writes.push(from.length)
      if (failure) throw failure()
      return write(offset, from, flags)
    }
    return ops
  },
})
beforeEach(() => {
  writes = []
  failure = undefined
})

const file = watched(fileDriver({ hostCalls: {}, onUnlocked: () => {} }) as AnyDriver)
const environment = { registry: new DriverRegistry([file, memory, nullCo, sectors]), host: denyHost }
const named = (name: string): RawOptions => ({ driver: 'file', filename: path(name) })
const create = (name: string, more: RawOptions = {}) =>
  createImage(environment, { driver: 'sectors', file: named(name), size: 1024, ...more })

describe('a new image', () => {
  it('is made with its file, by one write, and can be taken back', async () => {
    const { remove } = await create('a', { lazyRefcounts: true })
    expect(readFileSync(path('a'))).toEqual(Buffer.concat([Buffer.alloc(SECTOR, MARK), Buffer.alloc(1024)]))
    expect(writes).toEqual([SECTOR + 1024])
    expect(formatted).toMatchObject([{ driver: 'memory', options: { size: 1024, lazy_refcounts: true } }])
    await remove()
    expect(readdirSync(directory)).toEqual([])
    await remove()
  })

  it('has further files, which are made beside it and taken back with it', async () => {
    const { remove } = await create('a', { further: 'b' })
    expect(readdirSync(directory).sort()).toEqual(['a', 'b-1', 'b-2'])
    expect(readFileSync(path('b-2'))).toEqual(Buffer.alloc(SECTOR, 2))
    await expect(create('c', { further: 'b' })).rejects.toMatchObject({ code: 'EEXIST' })
    expect(existsSync(path('c'))).toBe(false)
    await remove()
    expect(readdirSync(directory)).toEqual([])
    last = () => Promise.reject(new BlockError('ENOSPC', 'full'))
    await expect(create('a', { further: 'b' })).rejects.toMatchObject({ code: 'ENOSPC' })
    expect(readdirSync(directory)).toEqual([])
  })

  it('has no further files beside an open node', async () => {
    const node = openMemory(new Uint8Array(0))
    await expect(
      createImage(environment, { driver: 'sectors', file: node, size: 1024, further: 'b' }),
    ).rejects.toMatchObject({ code: 'ENOTSUP', message: expect.stringContaining("'b-1'") })
  })

  it('knows its name and its backing file, also as a draft', async () => {
    await create('base')
    await create('a', { backingFile: 'base', backingFmt: 'sectors', describe: true })
    expect(described).toMatchObject({ filename: path('a'), backing: { driver: 'sectors' } })
    expect(formatted.at(-1)).toMatchObject({ driver: 'memory' })
    const base = await openNode(environment, { driver: 'sectors', file: named('base'), readOnly: true })
    await create('b', { backing: base, describe: true })
    expect(described).toMatchObject({ filename: path('b'), backing: { driver: 'sectors' } })
    await base.close()
    await create('c', { describe: true })
    expect(described).toEqual({ filename: path('c'), backing: undefined })
  })

  it('takes a driver that no environment has, and suffixes of sizes', async () => {
    const lonely = { registry: new DriverRegistry([file]), host: denyHost }
    await createImage(lonely, { driver: sectors, file: { filename: path('a') }, size: '1k' })
    expect(statSync(path('a')).size).toBe(SECTOR + 1024)
  })

  it.each<[string, RawOptions]>([
    ['without a draft', { draft: false }],
    ['that preallocates', { preallocation: 'full' }],
    ['that is large', { size: 2 ** 27 }],
  ])('%s is formatted where it lies', async (_, more) => {
    await create('a', more)
    expect(formatted.at(-1)).toMatchObject({ driver: 'file', filename: path('a') })
    expect(writes).toEqual([SECTOR])
    await expect(create('a', more)).rejects.toMatchObject({ code: 'EEXIST' })
  })

  it('is put into an open node, which stays open', async () => {
    const node = openMemory(new Uint8Array(0))
    const { remove } = await createImage(environment, { driver: 'sectors', file: node, size: 1024 })
    expect([node.isOpen, node.size]).toEqual([true, SECTOR + 1024])
    await expect(
      createImage(environment, { driver: 'sectors', file: node, size: 1024 }),
    ).rejects.toMatchObject({ code: 'EEXIST' })
    expect(node.size).toBe(SECTOR + 1024)
    await remove()
    expect([node.isOpen, node.size]).toEqual([true, 0])
  })

  it('takes name, format and size of the open node that it is laid over, or of the file that is named', async () => {
    writeFileSync(path('base'), Buffer.alloc(2048, 1))
    const backing = await openNode(environment, named('base'))
    await create('a', { backing, size: undefined })
    await create('b', { backingFile: 'base', backingFmt: 'file', size: undefined })
    const [a, b] = [formatted.at(0), formatted.at(-1)]
    expect(a!.options).toMatchObject({ backing_file: path('base'), backing_fmt: 'raw', size: 2048 })
    expect(b!.options).toMatchObject({ backing_file: 'base', backing_fmt: 'file', size: 2048 })
    await backing.close()
  })

  it('has its data in another file, which it names', async () => {
    const { remove } = await create('a', { dataFile: named('data') })
    expect(formatted).toMatchObject([{ driver: 'file', options: { data_file: path('data') } }])
    expect(readdirSync(directory).sort()).toEqual(['a', 'data'])
    await remove()
    expect(readdirSync(directory)).toEqual([])
    await create('a', { dataFile: named('data'), data_file: 'other' })
    expect(formatted.at(-1)!.options).toMatchObject({ data_file: 'other' })
  })
})

describe('no data is replaced', () => {
  it('unasked, and a file that reads as zeroes is none', async () => {
    writeFileSync(path('a'), Buffer.alloc(4096, 7))
    writeFileSync(path('zeroes'), Buffer.alloc(4096))
    await expect(create('a')).rejects.toMatchObject({ code: 'EEXIST' })
    expect(readFileSync(path('a'))).toEqual(Buffer.alloc(4096, 7))
    await create('zeroes')
    expect(statSync(path('zeroes')).size).toBe(SECTOR + 1024)
    await create('a', { overwrite: true })
    expect(statSync(path('a')).size).toBe(SECTOR + 1024)
  })

  it('in a data file, either, and then the image is not made', async () => {
    writeFileSync(path('data'), Buffer.alloc(4096, 7))
    await expect(create('a', { dataFile: named('data') })).rejects.toMatchObject({ code: 'EEXIST' })
    expect(readdirSync(directory)).toEqual(['data'])
    expect(readFileSync(path('data'))).toEqual(Buffer.alloc(4096, 7))
  })

  it.each([{ overwrite: true }, { overwrite: false }])('while it is in use: %o', async (more) => {
    writeFileSync(path('a'), Buffer.alloc(4096))
    writeFileSync(path('b'), Buffer.alloc(4096))
    const user = await openNode(environment, { driver: 'sectors', file: named('a') })
    await expect(create('a', more)).rejects.toMatchObject({ code: 'EBUSY' })
    await expect(create('b', { ...more, dataFile: named('a') })).rejects.toMatchObject({ code: 'EBUSY' })
    expect([statSync(path('a')).size, statSync(path('b')).size]).toEqual([4096, 4096])
    await user.close()
  })
})

describe('nothing is left behind', () => {
  const lost = (): BlockError => new BlockError('ENOSPC', 'full')

  it.each<[string, RawOptions, string]>([
    ['an unknown format', { driver: 'none' }, "'none'"],
    ['no format', { driver: undefined }, "'driver'"],
    ['a driver that makes no images', { driver: 'null-co' }, "'null-co'"],
    ['no file', { file: undefined }, "'file'"],
    ['the name of a file', { file: 'disk.qcow2' }, "'file'"],
    ['an unknown protocol', { file: { driver: 'none' } }, "'none'"],
    ['a protocol that makes no files', { file: { driver: 'null-co' } }, "'null-co'"],
    ['a data file that is none', { dataFile: 'data' }, "'dataFile'"],
    ['a backing file that is not open', { backing: 'base' }, "'backing'"],
    ['a misspelled option', { lazyRefcount: true }, 'lazyRefcount'],
    ['a wrong size', { size: 'much' }, "'size'"],
    ['no size', { size: undefined }, 'no size'],
    ['no flag', { overwrite: 'yes' }, "'overwrite'"],
    ['no other flag', { draft: 1 }, "'draft'"],
    ['a backing file that is missing', { backingFile: 'none', backingFmt: 'file', size: undefined }, 'none'],
    ['a file without a name', { file: { driver: 'file' } }, 'file name'],
  ])('of %s', async (_, more, word) => {
    const error = await create('a', more).catch((error: unknown) => error)
    expect(error).toBeInstanceOf(BlockError)
    expect((error as BlockError).message).toContain(word)
    expect(existsSync(path('a'))).toBe(false)
    expect(writes).toEqual([])
  })

  it.each([undefined, 5, 'a', []])('of options that are %o', async (options) => {
    await expect(createImage(environment, options as never)).rejects.toMatchObject({ code: 'EINVAL' })
    await expect(createImage(undefined as never, {} as never)).rejects.toMatchObject({ code: 'EINVAL' })
  })

  it('of a draft that cannot be written, and an empty file stays empty', async () => {
    failure = lost
    await expect(create('a')).rejects.toMatchObject({ code: 'ENOSPC' })
    expect(readdirSync(directory)).toEqual([])
    writeFileSync(path('a'), '')
    await expect(create('a')).rejects.toMatchObject({ code: 'ENOSPC' })
    expect(readFileSync(path('a'))).toHaveLength(0)
  })

  it('of an image that cannot be formatted, but what was there', async () => {
    last = () => Promise.reject(lost())
    const both = { dataFile: named('data') }
    await expect(create('a', both)).rejects.toMatchObject({ code: 'ENOSPC' })
    expect(readdirSync(directory)).toEqual([])
    writeFileSync(path('a'), Buffer.alloc(4096))
    await expect(create('a', both)).rejects.toMatchObject({ code: 'ENOSPC' })
    expect(readdirSync(directory)).toEqual(['a'])
    expect(readFileSync(path('a'))).toHaveLength(0)
  })

  it('of a file in a directory that is missing', async () => {
    await expect(create('no/a', { dataFile: named('data') })).rejects.toMatchObject({ code: 'ENOENT' })
    expect(readdirSync(directory)).toEqual([])
  })

  it('of an image that is taken back, where an empty file was', async () => {
    writeFileSync(path('a'), '')
    const { remove } = await create('a')
    expect(statSync(path('a')).size).toBe(SECTOR + 1024)
    await remove()
    expect(readFileSync(path('a'))).toHaveLength(0)
  })
})
