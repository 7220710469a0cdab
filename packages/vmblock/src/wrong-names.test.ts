/**
 * Every wrong name, type and order of arguments fails twice: it does not compile (TypeScript reports an unused
 * `@ts-expect-error`), and without TypeScript it is refused by one error that names it.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openMemory } from '@vmblock/block-core'
import { afterAll, beforeAll, describe, expect, expectTypeOf, it } from 'vitest'
import { check, convert, create, info, open, type VirtualDisk } from './node-js.ts'

const directory = mkdtempSync(join(tmpdir(), 'vmblock-'))
const image = join(directory, 'disk.qcow2')
const fresh = join(directory, 'new.qcow2')
let disk: VirtualDisk
beforeAll(async () => {
  await create(image, { size: '1M' })
  disk = await open(image)
})
afterAll(async () => {
  await disk.close()
  rmSync(directory, { recursive: true })
})

/** The call fails with EINVAL, and the message names `name`. Nothing is made. */
async function refused(call: () => unknown, name: string): Promise<void> {
  const error = await (async () => call())().catch((thrown: unknown) => thrown)
  expect(error).toMatchObject({ name: 'BlockError', code: 'EINVAL' })
  expect((error as Error).message).toContain(name)
  expect(await readdir(directory)).toEqual(['disk.qcow2'])
}

it('create says which formats have no backing file', async () => {
  await refused(
    () => create(join(directory, 'new.img'), { backing: image }),
    'raw images have no backing file',
  )
})

describe('open', () => {
  it('refuses wrong options and sources', async () => {
    // @ts-expect-error
    await refused(() => open(image, { readonly: true }), 'readonly')
    // @ts-expect-error
    await refused(() => open(image, { readOnly: 'yes' }), 'readOnly')
    // @ts-expect-error
    await refused(() => open(image, { format: 2 }), 'format')
    // @ts-expect-error
    await refused(() => open(image, { allow: 'everything' }), 'allow')
    // @ts-expect-error
    await refused(() => open(image, { allow: { dir: '/' } }), 'allow')
    // @ts-expect-error
    await refused(() => open(image, { allow: { directory: '/', role: 'x' } }), 'allow')
    // @ts-expect-error
    await refused(() => open(image, { onWarn: true }), 'onWarn')
    // @ts-expect-error
    await refused(() => open(image, true), 'options')
    // @ts-expect-error
    await refused(() => open(image, null), 'options')
    // @ts-expect-error
    await refused(() => open(), 'source')
    // @ts-expect-error
    await refused(() => open(5), 'source')
    // @ts-expect-error
    await refused(() => open(null), 'source')
    // @ts-expect-error
    await refused(() => open({ fille: image }), 'fille')
    // @ts-expect-error
    await refused(() => open({ file: image, fromat: 'raw' }), 'fromat')
    // @ts-expect-error
    await refused(() => open({ file: 7 }), 'file')
    // @ts-expect-error
    await refused(() => open({ url: 'http://x', readahead: 1 }), 'readahead')
    // @ts-expect-error
    await refused(() => open([image]), 'source')
    // @ts-expect-error
    await refused(() => open({ readOnly: true }, image), 'options')
  })

  it('refuses what contradicts an open disk', async () => {
    await refused(() => open(disk, { format: 'raw' }), 'format')
    await refused(() => open(disk, { readOnly: true }), 'readOnly')
    await refused(() => open(disk.node.root), 'source')
    await refused(() => open({ node: { driver: 'qcow2' } }, { format: 'raw' }), 'format')
  })
})

describe('create', () => {
  it('refuses wrong options, targets and formats', async () => {
    // @ts-expect-error
    await refused(() => create(fresh), 'options')
    // @ts-expect-error
    await refused(() => create(fresh, '2G'), 'options')
    // @ts-expect-error
    await refused(() => create(fresh, { size: '2G', lazyRefcount: true }), 'lazyRefcount')
    // @ts-expect-error
    await refused(() => create(fresh, { size: '2G', lazyRefcounts: 'maybe' }), 'lazyRefcounts')
    // @ts-expect-error
    await refused(() => create(fresh, { size: true }), 'size')
    // @ts-expect-error
    await refused(() => create(fresh, { size: '2G', clusterSize: true }), 'clusterSize')
    // @ts-expect-error
    await refused(() => create(fresh, { size: '2G', format: 'vmdk' }), 'format')
    // @ts-expect-error
    await refused(() => create(fresh, { size: '2G', format: 'qed', lazyRefcounts: true }), 'lazyRefcounts')
    // @ts-expect-error
    await refused(() => create(fresh, { size: '2G', format: 'raw', clusterSize: 512 }), 'clusterSize')
    // @ts-expect-error
    await refused(() => create(fresh, { size: '2G', overwrite: 1 }), 'overwrite')
    // @ts-expect-error
    await refused(() => create(fresh, { size: '2G', backingFile: image }), 'backingFile')
    // @ts-expect-error
    await refused(() => create(fresh, { size: '2G', driver: 'raw' }), 'driver')
    // @ts-expect-error
    await refused(() => create(fresh, { backing: 5 }), 'source')
    await refused(() => create(fresh, { size: '2G', backingFormat: 'raw' }), 'backingFormat')
    // @ts-expect-error
    await refused(() => create(fresh, { size: '2G', signal: {} }), 'signal')
    await refused(() => create(join(directory, 'new'), { size: '2G' }), 'format')
    await refused(() => create(join(directory, 'new.constructor'), { size: '2G' }), 'format')
    // @ts-expect-error
    await refused(() => create({ size: '2G' }, fresh), 'options')
    // @ts-expect-error
    await refused(() => create(7, { size: '2G' }), 'target')
    // @ts-expect-error
    await refused(() => create(disk, { size: '2G', format: 'raw' }), 'target')
    await refused(() => create(fresh, {}), 'size')
    await refused(() => create(fresh, { size: 'much' }), 'size')
    await refused(() => create(fresh, { size: -1 }), 'size')
  })
})

describe('convert', () => {
  it('refuses wrong options, and a target in the wrong place', async () => {
    const source = openMemory(new Uint8Array(512))
    // @ts-expect-error
    await refused(() => convert(source), 'target')
    // @ts-expect-error
    await refused(() => convert(source, fresh, { sourceFormat: 1 }), 'sourceFormat')
    // @ts-expect-error
    await refused(() => convert(source, fresh, { onProgress: 1 }), 'onProgress')
    // @ts-expect-error
    await refused(() => convert(source, fresh, { onprogress: () => undefined }), 'onprogress')
    // @ts-expect-error
    await refused(() => convert(source, fresh, { format: 'qcow2', tableSize: 2 }), 'tableSize')
    // @ts-expect-error
    await refused(() => convert(source, { format: 'qcow2' }), 'target')
    // @ts-expect-error
    await refused(() => convert(source, fresh, 'qcow2'), 'options')
    // @ts-expect-error
    await refused(() => convert(undefined, fresh), 'source')
  })
})

describe('check and info', () => {
  it('refuse wrong options', async () => {
    // @ts-expect-error
    await refused(() => check(disk, { repair: true }), 'repair')
    // @ts-expect-error
    await refused(() => check(disk, { repair: 'leak' }), 'repair')
    // @ts-expect-error
    await refused(() => check(disk, { maxFindings: '10' }), 'maxFindings')
    // @ts-expect-error
    await refused(() => check(disk, { fix: 'all' }), 'fix')
    // @ts-expect-error
    await refused(() => check(), 'source')
    // @ts-expect-error
    await refused(() => info(disk, { chain: true }), 'chain')
    // @ts-expect-error
    await refused(() => info(disk, { format: null }), 'format')
    // @ts-expect-error
    await refused(() => info({ name: image }), 'name')
  })
})

describe('a disk', () => {
  it('refuses wrong arguments and options', async () => {
    // @ts-expect-error
    await refused(() => disk.read(0), 'into')
    // @ts-expect-error
    await refused(() => disk.read('0', 1), 'offset')
    // @ts-expect-error
    await refused(() => disk.write(new Uint8Array(1), 0), 'from')
    // @ts-expect-error
    await refused(() => disk.write(0, [1, 2]), 'from')
    // @ts-expect-error
    await refused(() => disk.writeZeroes(0), 'bytes')
    // @ts-expect-error
    await refused(() => disk.discard(0, '1'), 'bytes')
    // @ts-expect-error
    await refused(() => disk.resize(), 'size')
    // @ts-expect-error
    await refused(() => disk.extents({ form: 0 }), 'form')
    // @ts-expect-error
    await refused(() => disk.extents({ start: '0' }), 'start')
    // @ts-expect-error
    await refused(() => disk.readable({ length: 5 }), 'length')
    // @ts-expect-error
    await refused(() => disk.readable({ chunkSize: '5' }), 'chunkSize')
    await refused(() => disk.readable({ chunkSize: 2 ** 27 }), 'chunkSize')
    // @ts-expect-error
    await refused(() => disk.writable({ chunkSize: 5 }), 'chunkSize')
    // @ts-expect-error
    await refused(() => disk.slice({ start: 0 }), 'start')
    // @ts-expect-error
    await refused(() => disk.check({ format: 'qcow2' }), 'format')
    // @ts-expect-error
    await refused(() => disk.commit({ base: disk }), 'base')
    // @ts-expect-error
    await refused(() => disk.on('resized', () => undefined), 'event')
    expect(() => {
      // @ts-expect-error
      disk.size = 5
    }).toThrow('size')
  })

  it('has results of their types', () => {
    expectTypeOf(disk.read(0, 1)).resolves.toEqualTypeOf<Uint8Array<ArrayBuffer>>()
    expectTypeOf(disk.read(0, new Uint16Array(1))).resolves.toEqualTypeOf<Uint16Array<ArrayBuffer>>()
    expectTypeOf(disk.readable()).toEqualTypeOf<ReadableStream<Uint8Array<ArrayBuffer>>>()
    expectTypeOf<Awaited<ReturnType<typeof info>>['snapshots'][0]['created']>().toEqualTypeOf<Date>()
  })
})
