import { statSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { BlockError, type BlockNode, openMemory, type RawOptions } from '@vmblock/block-core'
import { parseOptions } from '@vmblock/block-core/driver'
import { file as fileDriver } from '@vmblock/block-core/node'
import { openTestNode, toBytes } from '@vmblock/block-core/testing'
import { afterAll, describe, expect, it } from 'vitest'
import { haveQemu, openBench } from '../../../../tests/support/real-qemu.ts'
import { headerIn } from '../testing/plain-header.ts'
import { creation } from './create.ts'

const empty = (name = 'memory'): BlockNode => openMemory(new Uint8Array(0), { name })

async function create(options: RawOptions, dataFile?: BlockNode): Promise<BlockNode> {
  const file = empty()
  await creation.create({ file, dataFile, options: parseOptions(creation.options, options) })
  return file
}

async function refusal(options: RawOptions, dataFile?: BlockNode): Promise<BlockError> {
  const error = await create(options, dataFile).then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  expect(error).toBeInstanceOf(BlockError)
  return error as BlockError
}

const optionString = (options: RawOptions): string =>
  Object.entries(options)
    .filter(([key]) => key !== 'size')
    .map(([key, value]) => `${key}=${String(value)}`)
    .join(',')

/** Images that must be the same as QEMU's, byte for byte. */
const SAME: readonly RawOptions[] = [
  { size: '128M' },
  { size: '0' },
  { size: '1000' },
  { size: '10T' },
  { size: '64M', compat: '0.10' },
  { size: '64M', compat: 'v3', lazy_refcounts: 'on' },
  { size: '64M', cluster_size: '512' },
  { size: '1M', cluster_size: '4k' },
  { size: '1G', cluster_size: '2M' },
  { size: '64M', extended_l2: 'on' },
  { size: '64M', extended_l2: 'on', cluster_size: '16k' },
  { size: '64M', compression_type: 'zstd' },
  ...[1, 2, 4, 8, 32, 64].map((bits) => ({ size: '64M', refcount_bits: String(bits) })),
  { size: '64M', backing_file: 'base.raw', backing_fmt: 'raw' },
  { size: '64M', backing_file: 'base.raw', backing_fmt: 'raw', cluster_size: '512' },
  { size: '64M', backing_file: 'base.raw', backing_fmt: 'raw', compat: '0.10' },
  { size: '64M', preallocation: 'metadata' },
  { size: '1000000', preallocation: 'metadata' },
  { size: '64M', preallocation: 'metadata', extended_l2: 'on', backing_file: 'base.raw', backing_fmt: 'raw' },
  { size: '4M', preallocation: 'metadata', cluster_size: '4k' },
]

/** Images that QEMU's check must find correct. */
const CLEAN: readonly RawOptions[] = [
  { size: '40M', preallocation: 'metadata', cluster_size: '512' },
  { size: '40M', preallocation: 'metadata', cluster_size: '512', refcount_bits: '64' },
  { size: '400M', preallocation: 'metadata', cluster_size: '4k', refcount_bits: '1' },
  { size: '300M', preallocation: 'metadata', cluster_size: '2M', refcount_bits: '64' },
  { size: '1200M', preallocation: 'metadata', refcount_bits: '64', extended_l2: 'on' },
  { size: '1T', cluster_size: '4k' },
]

const bench = openBench()
afterAll(() => bench.remove())

/** Copies a node to a file, with holes for its unallocated ranges. */
async function save(node: BlockNode, name: string): Promise<void> {
  const file = await open(bench.path(name), 'w')
  await file.truncate(node.size)
  for (let at = 0; at < node.size; ) {
    const { bytes, data } = await node.blockStatus(at, Math.min(node.size - at, 2 ** 20))
    if (data) {
      const piece = new Uint8Array(bytes)
      await node.read(at, piece)
      await file.write(piece, 0, bytes, at)
    }
    at += bytes
  }
  await file.close()
}

describe.skipIf(!haveQemu)('creation, compared with qemu-img', () => {
  it.each(SAME.map((options) => [`${optionString(options)} ${String(options['size'])}`, options]))(
    'makes the same image: %s',
    async (_, options) => {
      const given = optionString(options)
      const args = ['create', '-q', '-u', '-f', 'qcow2', ...(given === '' ? [] : ['-o', given])]
      bench.run('qemu-img', ...args, 'real.qcow2', String(options['size']))
      const ours = await toBytes(await create(options))
      const real = bench.read('real.qcow2')
      expect(ours.length).toBe(real.length)
      expect(Buffer.compare(ours, real)).toBe(0)
    },
  )

  it.each(CLEAN.map((options) => [`${optionString(options)} ${String(options['size'])}`, options]))(
    'makes an image without errors or leaks: %s',
    async (_, options) => {
      await save(await create(options), 'ours.qcow2')
      const report = JSON.parse(bench.run('qemu-img', 'check', '--output=json', 'ours.qcow2'))
      expect(report).toMatchObject({ 'check-errors': 0 })
      expect(report).not.toHaveProperty('leaks')
      expect(report).not.toHaveProperty('corruptions')
      if (options['preallocation']) expect(report['allocated-clusters']).toBe(report['total-clusters'])
    },
  )

  it('makes the same image and data file with an external data file', async () => {
    for (const more of [{}, { preallocation: 'metadata' }, { data_file_raw: 'on' }, { extended_l2: 'on' }]) {
      const options = { size: '64M', data_file: 'data.raw', ...more }
      bench.run('qemu-img', 'create', '-q', '-f', 'qcow2', '-o', optionString(options), 'real.qcow2', '64M')
      const dataFile = empty('data')
      const ours = await toBytes(await create(options, dataFile))
      expect(Buffer.compare(ours, bench.read('real.qcow2'))).toBe(0)
      expect(dataFile.size).toBe(bench.read('data.raw').length)
    }
  })

  it('makes a preallocated file that qemu-img finds in order and full of zeroes', async () => {
    for (const preallocation of ['falloc', 'full', 'metadata'])
      for (const more of [{}, { cluster_size: '4k', refcount_bits: '64' }, { extended_l2: 'on' }]) {
        bench.write('ours.qcow2', new Uint8Array(0))
        const options = { filename: bench.path('ours.qcow2') }
        const file = await openTestNode(fileDriver, { options })
        const wanted = { size: '5000k', preallocation, ...more }
        await creation.create({ file, options: parseOptions(creation.options, wanted) })
        await file.close()
        bench.run('qemu-img', 'create', '-q', '-f', 'raw', 'zeroes.raw', '5000k')
        expect(bench.run('qemu-img', 'check', 'ours.qcow2')).toMatch(/^No errors were found/)
        expect(bench.run('qemu-img', 'compare', 'ours.qcow2', 'zeroes.raw')).toBe('Images are identical.\n')
        const { blocks, size } = statSync(bench.path('ours.qcow2'))
        if (preallocation !== 'metadata') expect(blocks * 512).toBeGreaterThanOrEqual(size)
      }
  })

  it('refuses what qemu-img refuses, in its words', async () => {
    const wrong: readonly RawOptions[] = [
      { cluster_size: '513' },
      { cluster_size: '0' },
      { cluster_size: '4M' },
      { cluster_size: '512', extended_l2: 'on' },
      { compat: '0.9' },
      { compat: '0.10', extended_l2: 'on' },
      { compat: '0.10', lazy_refcounts: 'on' },
      { compat: '0.10', refcount_bits: '8' },
      { compat: '0.10', compression_type: 'zstd' },
      { compat: '0.10', data_file: 'data.raw' },
      { refcount_bits: '3' },
      { refcount_bits: '0' },
      { refcount_bits: '128' },
      { compression_type: 'lz4' },
      { preallocation: 'some' },
      { data_file_raw: 'on' },
      { backing_fmt: 'raw' },
      { backing_file: 'base.raw', backing_fmt: 'raw', preallocation: 'metadata' },
      { backing_file: 'base.raw', backing_fmt: 'raw', data_file: 'data.raw', data_file_raw: 'on' },
      { backing_file: 'x'.repeat(1020), backing_fmt: 'raw', cluster_size: '512' },
      { size: '1E' },
      { size: '1T', cluster_size: '512' },
    ]
    for (const options of wrong) {
      const { size = '64M' } = options as { size?: string }
      const args = ['create', '-q', '-u', '-f', 'qcow2', '-o', optionString(options), 'real.qcow2', size]
      const { status, stderr } = bench.attempt('qemu-img', ...args)
      expect(status, optionString(options)).toBe(1)
      if (size === '1E') continue // above 2^53-1: refused earlier here, by the option's type
      const dataFile = options['data_file'] === undefined ? undefined : empty('data')
      const { message } = await refusal({ ...options, size }, dataFile)
      expect(`qemu-img: real.qcow2: ${message}\n`).toBe(stderr)
    }
  })
})

describe('creation', () => {
  it('needs a size', async () => {
    expect((await refusal({})).message).toBe('Image creation needs a size parameter')
  })

  it('reports a size that the format cannot hold as EFBIG', async () => {
    expect((await refusal({ size: '1T', cluster_size: '512' })).code).toBe('EFBIG')
    expect((await refusal({ size: '8P' })).code).toBe('EFBIG')
  })

  it('passes on that the file cannot be preallocated', async () => {
    const error = await refusal({ size: '1M', preallocation: 'falloc' })
    expect(error.code).toBe('ENOTSUP')
    expect(error.message).toMatch(/^Could not resize image: Failed to resize underlying file: /)
  })

  it('asks the file for storage up to the end of the last cluster', async () => {
    const file = empty()
    const asked: unknown[] = []
    const truncate = file.truncate.bind(file)
    file.truncate = async (size, options) => {
      asked.push([size, options])
      await truncate(size)
    }
    const options = parseOptions(creation.options, { size: '100000', preallocation: 'full' })
    await creation.create({ file, options })
    expect(asked).toEqual([[7 * 65536, { preallocation: 'full' }]])
  })

  it('leaves no header when it is interrupted', async () => {
    const file = empty()
    file.flush = () => Promise.reject(new BlockError('EIO', 'gone'))
    let writes = 0
    const write = file.write.bind(file)
    file.write = (offset, from, flags) => {
      if (++writes === 3) return Promise.reject(new BlockError('ENOSPC', 'full'))
      return write(offset, from, flags)
    }
    const options = parseOptions(creation.options, { size: '1M' })
    await expect(creation.create({ file, options })).rejects.toMatchObject({ code: 'ENOSPC' })
    await expect(headerIn(new Uint8Array(512))).rejects.toThrow('Image is not in qcow2 format')
    const head = new Uint8Array(4)
    await file.read(0, head)
    expect(head).toEqual(new Uint8Array(4))
  })
})
