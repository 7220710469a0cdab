/** Creating, converting, checking and describing images, beside QEMU's own programs. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { open as openFile } from 'node:fs/promises'
import { openMemory } from '@vmblock/block-core'
import { createRandom } from '@vmblock/block-core/testing'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Bench, haveQemu, openBench } from '../../../tests/support/real-qemu.ts'
import { check, convert, create, type Extent, info, open, type Progress } from './node-js.ts'

const MIB = 2 ** 20
let bench: Bench
beforeEach(() => {
  bench = openBench()
})
afterEach(() => bench.remove())
const path = (name: string): string => bench.path(name)
const there = (): string[] => readdirSync(bench.directory).sort()

/** A disk with random data, zeroes and holes. */
async function sample(name: string, size = 8 * MIB): Promise<string> {
  await create(path(name), { size })
  await using disk = await open(path(name), { format: name.replace(/.*\./, '').replace('img', 'raw') })
  const random = createRandom(7)
  for (let offset = 0; offset < size; offset += MIB) await disk.write(offset + 4096, random.bytes(200_000))
  await disk.writeZeroes(2 * MIB, MIB)
  return path(name)
}

describe('create', () => {
  it('makes images of every format, by the end of the name', async () => {
    for (const [name, format] of [
      ['a.qcow2', 'qcow2'],
      ['a.qed', 'qed'],
      ['a.IMG', 'raw'],
      ['a.raw', 'raw'],
    ] as const) {
      await create(path(name), { size: '5M' })
      expect(await info(path(name), { format })).toMatchObject({ format, size: 5 * MIB })
    }
    await create(path('any'), { size: 512, format: 'raw' })
    expect(readFileSync(path('any')).length).toBe(512)
  })

  it('takes the options of the format', async () => {
    await create(path('a.qcow2'), { size: '5M', clusterSize: '4k', lazyRefcounts: true, compat: 'v3' })
    expect(await info(path('a.qcow2'))).toMatchObject({
      clusterSize: 4096,
      formatSpecific: { lazyRefcounts: true, compat: '1.1' },
    })
    await create(path('data.qcow2'), { size: '5M', dataFile: path('data.raw'), dataFileRaw: true })
    await using disk = await open(path('data.qcow2'), { allow: { directory: bench.directory } })
    await disk.write(0, Uint8Array.of(9))
    expect(readFileSync(path('data.raw'))[0]).toBe(9)
  })

  it('makes an image around a data file that is there', async () => {
    writeFileSync(path('old.raw'), new Uint8Array(2 * MIB).fill(7))
    const dataFile = { dataFile: path('old.raw'), dataFileRaw: true }
    await create(path('around.qcow2'), { size: '2M', ...dataFile, keepDataFile: true })
    await using disk = await open(path('around.qcow2'), { allow: { directory: bench.directory } })
    expect((await disk.read(2 * MIB - 1, 1))[0]).toBe(7)
  })

  it('lays an image over another one, and names it relative to the image', async () => {
    await sample('base.qcow2')
    await create(path('mine.qcow2'), { backing: path('base.qcow2') })
    expect(await info(path('mine.qcow2'))).toMatchObject({ size: 8 * MIB, backing: { format: 'qcow2' } })
    await using mine = await open(path('mine.qcow2'))
    await using base = await open(path('base.qcow2'), { readOnly: true })
    expect(await mine.read(4096, 1000)).toEqual(await base.read(4096, 1000))
    await create(path('over.qcow2'), { backing: base, size: '9M' })
    expect((await info(path('over.qcow2'))).size).toBe(9 * MIB)
  })

  it('keeps what is there, unless it shall be overwritten', async () => {
    await sample('a.qcow2')
    const before = readFileSync(path('a.qcow2'))
    await expect(create(path('a.qcow2'), { size: '1M' })).rejects.toMatchObject({ code: 'EEXIST' })
    expect(readFileSync(path('a.qcow2')).equals(before)).toBe(true)
    {
      await using _ = await open(path('a.qcow2'))
      const busy = create(path('a.qcow2'), { size: '1M', overwrite: true })
      await expect(busy).rejects.toMatchObject({ code: 'EBUSY' })
    }
    await create(path('a.qcow2'), { size: '1M', overwrite: true })
    expect((await info(path('a.qcow2'))).size).toBe(MIB)
  })

  it('formats an open node, and a FileHandle', async () => {
    const node = openMemory(new Uint8Array(0))
    await create(node, { size: '1M', format: 'qcow2' })
    await using disk = await open(node)
    expect([disk.format, disk.size]).toEqual(['qcow2', MIB])
    writeFileSync(path('held'), '')
    const handle = await openFile(path('held'), 'r+')
    await create(handle, { size: '2M', format: 'qcow2' })
    await handle.close()
    expect(await info(path('held'))).toMatchObject({ format: 'qcow2', size: 2 * MIB })
  })

  it('leaves nothing behind when it fails, or is aborted', async () => {
    const signal = AbortSignal.abort(new Error('enough'))
    await expect(create(path('a.qcow2'), { size: '1M', signal })).rejects.toThrow('enough')
    await expect(create(path('a.qcow2'), { size: '1M', clusterSize: 100 })).rejects.toMatchObject({
      code: 'EINVAL',
    })
    await expect(create(path('a.qcow2'), { backing: path('none') })).rejects.toMatchObject({ code: 'ENOENT' })
    const late = new AbortController()
    const making = create(path('a.qcow2'), { size: '1M', signal: late.signal })
    late.abort(new Error('too late'))
    await expect(making).rejects.toThrow('too late')
    expect(there()).toEqual([])
  })
})

describe.skipIf(!haveQemu)('convert', () => {
  const same = (one: string, other: string): void => {
    expect(bench.run('qemu-img', 'compare', one, other)).toContain('identical')
  }

  it.each(['b.qcow2', 'b.qed', 'b.raw'])('copies a disk to %s, and tells how far it is', async (name) => {
    await sample('a.qcow2')
    const told: Progress[] = []
    await convert(path('a.qcow2'), path(name), { onProgress: (progress) => told.push(progress) })
    same('a.qcow2', name)
    expect(told[0]).toEqual({ done: 0, total: 8 * MIB, fraction: 0 })
    expect(told.at(-1)).toEqual({ done: 8 * MIB, total: 8 * MIB, fraction: 1 })
    const fractions = told.map(({ fraction }) => fraction)
    expect(fractions).toEqual(fractions.toSorted((a, b) => a - b))
  })

  it.each(['zlib', 'zstd'] as const)('compresses with %s', async (compressionType) => {
    await sample('a.qcow2')
    await convert(path('a.qcow2'), path('b.qcow2'), { compress: true, compressionType })
    same('a.qcow2', 'b.qcow2')
    const found = JSON.parse(bench.run('qemu-img', 'check', '--output=json', 'b.qcow2'))
    // The others are random from beginning to end, and written as they are.
    expect(found['compressed-clusters']).toBe(14)
  })

  it('compresses nothing that cannot be', async () => {
    await sample('a.qcow2')
    for (const [name, options] of [
      ['b.raw', {}],
      ['b.qed', {}],
      ['b.qcow2', { preallocation: 'metadata' }],
      ['b.qcow2', { dataFile: path('b.data') }],
    ] as const)
      await expect(
        convert(path('a.qcow2'), path(name), { compress: true, ...options }),
      ).rejects.toMatchObject({
        code: 'EINVAL',
        message: expect.stringMatching(/^Parameter 'compress' is given, and /),
      })
    expect(there()).toEqual(['a.qcow2'])
  })

  it('leaves zeroes out', async () => {
    await create(path('a.raw'), { size: '4M' })
    {
      await using disk = await open(path('a.raw'), { format: 'raw' })
      await disk.write(MIB, new Uint8Array(MIB))
      await disk.write(3 * MIB, Uint8Array.of(1))
    }
    await convert(path('a.raw'), path('b.qcow2'), { sourceFormat: 'raw' })
    const [entry, ...more] = JSON.parse(bench.run('qemu-img', 'map', '--output=json', 'b.qcow2')).filter(
      ({ data, zero }: { readonly data: boolean; readonly zero: boolean }) => data && !zero,
    )
    expect([entry.start, entry.length <= 65536, more]).toEqual([3 * MIB, true, []])
  })

  it('flattens an overlay, or makes another of the same base', async () => {
    await sample('base.qcow2')
    await create(path('mine.qcow2'), { backing: path('base.qcow2') })
    {
      await using disk = await open(path('mine.qcow2'))
      await disk.write(5 * MIB, new Uint8Array(100_000).fill(3))
      await disk.writeZeroes(0, 65536)
    }
    await convert(path('mine.qcow2'), path('flat.qcow2'))
    same('mine.qcow2', 'flat.qcow2')
    expect((await info(path('flat.qcow2'))).backing).toBe(undefined)
    await convert(path('mine.qcow2'), path('thin.qcow2'), { backing: path('base.qcow2') })
    same('mine.qcow2', 'thin.qcow2')
    await convert(path('flat.qcow2'), path('thinned.qcow2'), { backing: path('base.qcow2') })
    same('mine.qcow2', 'thinned.qcow2')
    expect((await info(path('thin.qcow2'))).allocatedSize!).toBeLessThan(2 * MIB)
  })

  it('copies an open disk as it is at one moment', async () => {
    await using disk = await open(await sample('a.qcow2'))
    const before = await disk.read(0, 8 * MIB)
    const writes: Promise<void>[] = []
    await convert(disk, path('b.raw'), {
      onProgress: () => writes.push(disk.write(7 * MIB, new Uint8Array(4096).fill(1))),
    })
    await Promise.all(writes)
    expect(readFileSync(path('b.raw')).equals(before)).toBe(true)
    expect((await disk.read(7 * MIB, 1))[0]).toBe(1)
  })

  it('removes the target when it is aborted, or fails', async () => {
    await sample('a.qcow2')
    const abort = new AbortController()
    const options = { signal: abort.signal, onProgress: () => abort.abort(new Error('enough')) }
    await expect(convert(path('a.qcow2'), path('b.qcow2'), options)).rejects.toThrow('enough')
    const onProgress = (): void => {
      throw new Error('mine')
    }
    await expect(convert(path('a.qcow2'), path('b.qcow2'), { onProgress })).rejects.toThrow('mine')
    await expect(convert(path('a.qcow2'), path('b.qcow2'), { size: '1M' })).rejects.toMatchObject({
      code: 'EINVAL',
    })
    await expect(convert(path('a.qcow2'), path('a.qcow2'), { overwrite: true })).rejects.toMatchObject({
      code: 'EBUSY',
    })
    expect(there()).toEqual(['a.qcow2'])
    await convert(path('a.qcow2'), path('b.qcow2'))
    same('a.qcow2', 'b.qcow2')
    expect((await check(path('a.qcow2'))).findings).toEqual([])
  })
})

describe.skipIf(!haveQemu)('extents', () => {
  it('are those of qemu-img map', async () => {
    await sample('base.qcow2')
    await create(path('mine.qcow2'), { backing: path('base.qcow2'), size: '10M' })
    await using disk = await open(path('mine.qcow2'))
    await disk.write(MIB, new Uint8Array(70_000).fill(3))
    await disk.writeZeroes(4 * MIB, MIB)
    await disk.flush()
    const extents: Extent[] = []
    for await (const extent of disk.extents()) extents.push(extent)
    type Entry = {
      start: number
      length: number
      depth: number
      present: boolean
      data: boolean
      zero: boolean
    }
    const map: Entry[] = JSON.parse(bench.run('qemu-img', 'map', '-U', '--output=json', 'mine.qcow2'))
    const theirs: Extent[] = []
    for (const { start, length, depth, present, zero } of map) {
      const kind = !present ? 'hole' : zero ? 'zero' : 'data'
      const last = theirs.at(-1)
      if (last?.kind === kind && (kind === 'hole' || last.layer === depth))
        theirs[theirs.length - 1] = { ...last, bytes: last.bytes + length }
      else theirs.push({ offset: start, bytes: length, kind, ...(kind !== 'hole' && { layer: depth }) })
    }
    expect(extents).toEqual(theirs)
    expect(new Set(extents.map(({ kind }) => kind))).toEqual(new Set(['data', 'zero', 'hole']))
  })
})

describe('check', () => {
  /** An image with a cluster that nothing refers to, and one with too low a refcount. */
  async function damaged(): Promise<string> {
    await sample('a.qcow2')
    const bytes = readFileSync(path('a.qcow2'))
    const table = Number(bytes.readBigUInt64BE(48))
    const block = Number(bytes.readBigUInt64BE(table))
    const leaked = bytes.length / 65536
    bytes.writeUInt16BE(1, block + 2 * leaked)
    bytes.writeUInt16BE(1, block + 2 * (leaked + 1))
    writeFileSync(path('a.qcow2'), Buffer.concat([bytes, Buffer.alloc(2 * 65536)]))
    return path('a.qcow2')
  }

  it('finds what is wrong, as data, and repairs it', async () => {
    const name = await damaged()
    const found = await check(name)
    expect([found.leaks, found.corruptions, found.omittedFindings]).toEqual([2, 0, 0])
    expect(found.findings).toMatchObject([
      { what: 'leaked-cluster', kind: 'leak', repaired: false, dataAtRisk: false },
      { what: 'leaked-cluster', kind: 'leak' },
    ])
    const progress: Progress[] = []
    const repaired = await check(name, { repair: 'leaks', onProgress: (told) => progress.push(told) })
    expect([repaired.leaks, repaired.leaksFixed]).toEqual([0, 2])
    expect(repaired.findings.map(({ repaired }) => repaired)).toEqual([true, true])
    expect(progress.length).toBeGreaterThan(0)
    expect((await check(name)).findings).toEqual([])
    if (haveQemu) expect(bench.run('qemu-img', 'check', 'a.qcow2')).toContain('No errors')
  })

  it('returns as many findings as are wanted, and counts the others', async () => {
    const { findings, omittedFindings, leaks } = await check(await damaged(), { maxFindings: 1 })
    expect([findings.length, omittedFindings, leaks]).toEqual([1, 1, 2])
  })

  it('ends with its signal, and needs no backing file', async () => {
    await sample('base.qcow2')
    await create(path('mine.qcow2'), { backing: path('base.qcow2') })
    bench.run('qemu-img', '--version')
    const gone = path('mine.qcow2')
    writeFileSync(path('base.qcow2'), 'no image')
    expect((await check(gone)).findings).toEqual([])
    const abort = new AbortController()
    const options = { signal: abort.signal, onProgress: () => abort.abort(new Error('enough')) }
    await expect(check(gone, options)).rejects.toThrow('enough')
    await expect(check(gone, { signal: AbortSignal.abort(new Error('no')) })).rejects.toThrow('no')
  })

  it('is not there for raw images, and works on an open disk', async () => {
    await create(path('a.raw'), { size: 512 })
    await expect(check(path('a.raw'))).rejects.toMatchObject({ code: 'ENOTSUP' })
    await using disk = await open(await sample('b.qcow2'))
    expect((await disk.check()).findings).toEqual([])
    expect((await check(disk)).totalClusters).toBe(128)
  })
})

describe('info and commit', () => {
  it.skipIf(!haveQemu)('describes an image of qemu-img, its snapshots included', async () => {
    bench.run('qemu-img', 'create', '-f', 'qcow2', '-o', 'lazy_refcounts=on', 'a.qcow2', '3M')
    bench.run('qemu-img', 'snapshot', '-c', 'first', 'a.qcow2')
    const found = await info(path('a.qcow2'))
    expect(found).toMatchObject({
      format: 'qcow2',
      filename: path('a.qcow2'),
      size: 3 * MIB,
      dirty: false,
      encrypted: false,
      clusterSize: 65536,
      snapshots: [{ id: '1', name: 'first', vmStateSize: 0 }],
      formatSpecific: { lazyRefcounts: true, refcountBits: 16 },
    })
    expect(Math.abs(found.snapshots[0]!.created.getTime() - Date.now())).toBeLessThan(3_600_000)
    expect(structuredClone(found)).toEqual(found)
    expect(JSON.parse(JSON.stringify(found)).format).toBe('qcow2')
  })

  it.skipIf(!haveQemu)('describes an encrypted image without its key', async () => {
    const secret = ['--object', 'secret,id=s,data=abc']
    // LUKS would measure the processor, which fails on one that is busy.
    const encrypt = ['-o', 'encryption=on,encrypt.key-secret=s']
    bench.run('qemu-img', 'create', ...secret, '-f', 'qcow2', ...encrypt, 'a.qcow2', '1M')
    expect(await info(path('a.qcow2'))).toMatchObject({ encrypted: true, size: MIB })
    await expect(open(path('a.qcow2'))).rejects.toThrow('key-secret')
  })

  it('writes an overlay down into its backing file', async () => {
    await sample('base.qcow2')
    await create(path('mine.qcow2'), { backing: path('base.qcow2') })
    const data = new Uint8Array(100_000).fill(3)
    {
      await using disk = await open(path('mine.qcow2'))
      await disk.write(5 * MIB, data)
      const aborted = disk.commit({ signal: AbortSignal.abort(new Error('enough')) })
      await expect(aborted).rejects.toThrow('enough')
      const told: Progress[] = []
      await disk.commit({ onProgress: (progress) => told.push(progress) })
      expect(told.at(-1)).toMatchObject({ fraction: 1 })
      const own = []
      for await (const { layer } of disk.extents()) if (layer === 0) own.push(layer)
      expect(own).toEqual([])
    }
    await using base = await open(path('base.qcow2'), { readOnly: true })
    expect((await base.read(5 * MIB, 100_000)).every((byte) => byte === 3)).toBe(true)
    await expect(base.commit()).rejects.toMatchObject({ code: 'EINVAL' })
  })
})

describe('rebase', () => {
  it('changes the backing file of an open disk', async () => {
    await sample('base.qcow2')
    await create(path('other.qcow2'), { size: 4 * MIB })
    await create(path('mine.qcow2'), { backing: path('base.qcow2') })
    const disk = await open(path('mine.qcow2'))
    await disk.write(MIB, Uint8Array.of(1, 2, 3))
    const before = await disk.read(0, disk.size)
    const steps: number[] = []
    const onProgress = ({ fraction }: Progress): void => void steps.push(fraction)
    await disk.rebase('other.qcow2', { format: 'qcow2', onProgress })
    expect(steps.at(-1)).toBe(1)
    expect((await disk.info()).backing).toEqual({ name: 'other.qcow2', format: 'qcow2' })
    expect(Buffer.compare(await disk.read(0, disk.size), before)).toBe(0)
    await disk.rebase('elsewhere.qcow2', { format: 'qcow2', unsafe: true })
    expect((await disk.info()).backing?.name).toBe('elsewhere.qcow2')
    await disk.rebase(null)
    await disk.close()
    await using alone = await open(path('mine.qcow2'))
    expect(Buffer.compare(await alone.read(0, alone.size), before)).toBe(0)
  })

  it('opens no file that the image may not name', async () => {
    mkdirSync(path('sub'))
    await create(path('base.qcow2'), { size: MIB })
    await create(path('sub/mine.qcow2'), { size: MIB })
    await using disk = await open(path('sub/mine.qcow2'))
    await expect(disk.rebase('../base.qcow2')).rejects.toMatchObject({ code: 'EACCES' })
    await expect(disk.rebase('')).rejects.toMatchObject({ code: 'EINVAL' })
  })
})
