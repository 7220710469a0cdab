/** Features of QED alone: need-check bit and timer, zero clusters, allocation behind the end, repairs. */
import {
  type BlockNode,
  DriverRegistry,
  denyHost,
  Job,
  type JobControl,
  memory,
  openMemory,
  openNode,
  reopenNode,
} from '@vmblock/block-core'
import { parseOptions, viewOf } from '@vmblock/block-core/driver'
import { toBytes } from '@vmblock/block-core/testing'
import { describe, expect, it } from 'vitest'
import { qedCreation } from './create.ts'
import { qed } from './driver.ts'
import { Feature, HEADER } from './format/header.ts'
import { createImage, emptyDisk, filled, type OpenImage, open } from './testing/images.ts'

const KIB = 1024
const SMALL = { cluster_size: 4096, table_size: 1, size: 4 * 2 ** 20 }
/** In {@link SMALL}, behind the header, the L1 table, and the first L2 table. */
const FIRST_DATA = 3 * 4096

async function featuresOf(file: BlockNode): Promise<bigint> {
  const bytes = new Uint8Array(64)
  await file.read(0, bytes)
  return HEADER.read(bytes).features
}

async function patternAt(node: BlockNode, offset: number, bytes: number): Promise<number[]> {
  const into = new Uint8Array(bytes)
  await node.read(offset, into)
  return [...new Set(into)]
}

/** Changes a 64-bit little-endian word of an image file. */
async function poke(file: BlockNode, offset: number, value: bigint): Promise<void> {
  const word = new Uint8Array(8)
  viewOf(word).setBigUint64(0, value, true)
  await file.write(offset, word)
}

/** Simulates a crash that loses no completed write. */
async function crash({ node }: OpenImage): Promise<void> {
  await node.crash()
}

describe('the need-check bit', () => {
  it('is on disk before an allocating write, and gone after a clean shutdown', async () => {
    const file = await createImage(SMALL)
    const { node } = await open(file)
    expect(await featuresOf(file)).toBe(0n)
    await node.write(0, filled(1, 512))
    expect(await featuresOf(file)).toBe(Feature.needCheck)
    expect((await node.info()).dirty).toBe(true)
    await node.close()
    expect(await featuresOf(file)).toBe(0n)
  })

  it('stays after a crash, and the next writer repairs and clears it', async () => {
    const file = await createImage(SMALL)
    const first = await open(file)
    await first.node.write(0, filled(1, 8192))
    await first.node.flush()
    await first.node.write(65536, filled(2, 512))
    await crash(first)
    expect(await featuresOf(file)).toBe(Feature.needCheck)
    const reader = await open(file, { readOnly: true })
    expect(await patternAt(reader.node, 0, 8192)).toEqual([1])
    await reader.node.close()
    expect(await featuresOf(file)).toBe(Feature.needCheck)
    const { node } = await open(file)
    expect(await featuresOf(file)).toBe(0n)
    expect(await patternAt(node, 0, 8192)).toEqual([1])
  })

  it('is cleared five seconds after the last allocation, when everything is durable', async () => {
    const file = await createImage(SMALL)
    const { node, clock, log } = await open(file)
    await node.write(0, filled(1, 512))
    expect(clock.next).toBe(5000)
    clock.elapse()
    await expect.poll(() => featuresOf(file)).toBe(0n)
    const [last] = log.entries.filter(({ kind, offset }) => kind === 'write' && offset === 0).slice(-1)
    const flushed = log.entries.some(
      ({ kind, completed }) => kind === 'flush' && completed! < last!.submitted,
    )
    expect(flushed).toBe(true)
    expect(await patternAt(node, 0, 512)).toEqual([1])
    await node.write(4096, filled(1, 512))
    expect(await featuresOf(file)).toBe(Feature.needCheck)
  })

  it('is not wanted by overwrites, zero clusters, or a node that crashed', async () => {
    const file = await createImage(SMALL)
    const image = await open(file)
    await image.node.write(0, filled(1, 4096))
    image.clock.elapse()
    await expect.poll(() => featuresOf(file)).toBe(0n)
    await image.node.write(0, filled(2, 4096))
    await image.node.writeZeroes(8192, 4096)
    expect(await featuresOf(file)).toBe(0n)
    expect(image.clock.next).toBeUndefined()
    await image.node.write(4096, filled(1, 512))
    await crash(image)
    expect(image.clock.next).toBeUndefined()
  })

  it('is not used over a backing file: there data is durable before it is linked', async () => {
    const file = await createImage(SMALL)
    const backing = await openMemory(filled(9, SMALL.size))
    const { node, log } = await open(file, { backing })
    await node.write(512, filled(1, 512))
    await node.flush()
    expect(await featuresOf(file)).toBe(0n)
    const order = log.entries.map(({ kind, offset }) => (kind === 'flush' ? kind : `${kind}@${offset}`))
    expect(order.indexOf('flush', order.indexOf(`write@${FIRST_DATA}`))).toBeLessThan(
      order.indexOf(`write@${2 * 4096}`),
    )
    expect(await patternAt(node, 0, 512)).toEqual([9])
  })

  it('goes with the right to write: reopened read-only it is cleared, reopened writable it is repaired', async () => {
    const file = await createImage(SMALL)
    const { node } = await open(file)
    await node.write(0, filled(1, 512))
    await reopenNode(node, { readOnly: true })
    expect(await featuresOf(file)).toBe(0n)
    await poke(file, 16, Feature.needCheck)
    await poke(file, 2 * 4096 + 8, BigInt(99 * 4096))
    await reopenNode(node, { readOnly: false })
    expect(await featuresOf(file)).toBe(0n)
    expect(await patternAt(node, 4096, 512)).toEqual([0])
    expect(await patternAt(node, 0, 512)).toEqual([1])
  })
})

describe('zero clusters', () => {
  it('hide the backing file, also around a later write', async () => {
    const file = await createImage(SMALL)
    const backing = await openMemory(filled(9, SMALL.size))
    const { node } = await open(file, { backing })
    await node.writeZeroes(0, 8192)
    await node.write(1024, filled(1, 512))
    expect(await patternAt(node, 0, 1024)).toEqual([0])
    expect(await patternAt(node, 1024, 512)).toEqual([1])
    expect(await patternAt(node, 1536, 8192 - 1536)).toEqual([0])
    expect(await patternAt(node, 8192, 512)).toEqual([9])
  })

  it('are not made of clusters that have data: no write could ever take those again', async () => {
    const file = await createImage(SMALL)
    const { node } = await open(file)
    await node.write(4096, filled(1, 4096))
    const before = file.size
    await node.writeZeroes(0, 3 * 4096)
    await node.flush()
    expect(file.size).toBe(before)
    expect(await patternAt(node, 0, 3 * 4096)).toEqual([0])
    const kinds: unknown[] = []
    for (let at = 0; at < 3 * 4096; at += 4096) {
      const { data, zero } = await node.blockStatus(at, 4096)
      kinds.push([data, zero])
    }
    expect(kinds).toEqual([
      [false, true],
      [true, false],
      [false, true],
    ])
  })

  it('cover what a growing disk would show of its backing file, if that is asked for', async () => {
    const file = await createImage({ ...SMALL, size: 5 * 4096 + 512 })
    const backing = await openMemory(filled(9, SMALL.size))
    const { node } = await open(file, { backing })
    await node.truncate(9 * 4096 + 1024, { zero: true })
    expect(await patternAt(node, 5 * 4096, 512)).toEqual([9])
    expect(await patternAt(node, 5 * 4096 + 512, 4 * 4096 + 512)).toEqual([0])
  })
})

describe('allocation', () => {
  it('cuts off, durably, part of a cluster that a crash left, so that it can never show through', async () => {
    const file = await createImage(SMALL)
    const first = await open(file)
    await first.node.writeZeroes(0, 4096)
    await first.node.close()
    await file.write(file.size, filled(0xee, 1000))
    const { node, log } = await open(file)
    await node.write(0, filled(1, 512))
    const [cut, flush, data] = log.entries
    expect([cut?.kind, flush?.kind, data?.kind]).toEqual(['truncate', 'flush', 'write'])
    expect(data?.offset).toBe(FIRST_DATA)
    expect(await node.check()).toMatchObject({ leaks: 0 })
  })

  it('in parallel gives every write its own cluster', async () => {
    const file = await createImage(SMALL)
    const { node } = await open(file)
    await Promise.all(Array.from({ length: 64 }, (_, i) => node.write(i * 4096, filled(i + 1, 4096))))
    for (let i = 0; i < 64; i++) expect(await patternAt(node, i * 4096, 4096)).toEqual([i + 1])
    expect(await node.check()).toMatchObject({ corruptions: 0, leaks: 0, allocatedClusters: 64 })
  })

  it('of parallel writes to one cluster merges them', async () => {
    const file = await createImage(SMALL)
    const { node } = await open(file)
    await Promise.all(Array.from({ length: 8 }, (_, i) => node.write(i * 512, filled(i + 1, 512))))
    for (let i = 0; i < 8; i++) expect(await patternAt(node, i * 512, 512)).toEqual([i + 1])
    expect(await node.check()).toMatchObject({ leaks: 0, allocatedClusters: 1 })
  })

  it('costs one flush, and the two writes of data and entry, on a write-through node', async () => {
    const file = await createImage({ size: 64 * 2 ** 20 })
    const { node, log } = await open(file, { cache: { writeback: false } })
    for (let i = 0; i < 128; i++) await node.write(i * 65536, filled(1, 4096))
    const count = (kind: string): number => log.entries.filter((entry) => entry.kind === kind).length
    expect(count('write')).toBeLessThanOrEqual(2 * 128 + 4)
    expect(count('flush')).toBeLessThanOrEqual(128 + 4)
  })
})

describe('the check', () => {
  async function broken(): Promise<BlockNode> {
    const file = await createImage(SMALL)
    const { node } = await open(file)
    await node.write(0, filled(1, 4 * 4096))
    await node.close()
    return file
  }
  const entry = (index: number): number => 2 * 4096 + index * 8

  it('finds and clears entries that lead nowhere, and counts what they leave behind', async () => {
    const file = await broken()
    await poke(file, entry(1), BigInt(1000 * 4096))
    await poke(file, entry(2), BigInt(FIRST_DATA + 512))
    await poke(file, entry(3), 2n ** 63n)
    const reader = await open(file, { readOnly: true })
    expect(await reader.node.check()).toMatchObject({ corruptions: 3, leaks: 3, corruptionsFixed: 0 })
    await expect(reader.node.read(4096, new Uint8Array(512))).rejects.toMatchObject({ code: 'EINVAL' })
    await reader.node.close()
    const { node } = await open(file)
    expect(await node.check({ repair: 'all' })).toMatchObject({
      corruptions: 0,
      leaks: 3,
      corruptionsFixed: 3,
    })
    expect(await patternAt(node, 0, 4096)).toEqual([1])
    expect(await patternAt(node, 4096, 3 * 4096)).toEqual([0])
  })

  it('cannot repair two entries for one cluster, so such an image is not written when it needs a check', async () => {
    const file = await broken()
    await poke(file, entry(1), BigInt(FIRST_DATA))
    const healthy = await open(file)
    expect(await healthy.node.check({ repair: 'all' })).toMatchObject({ corruptions: 1, leaks: 1 })
    await healthy.node.close()
    await poke(file, 16, Feature.needCheck)
    await expect(open(file)).rejects.toThrow('Image corrupted')
    expect(await featuresOf(file)).toBe(Feature.needCheck)
    const checked = await open(file, { checkMode: true })
    expect(await checked.node.check({ repair: 'all' })).toMatchObject({ corruptions: 1 })
    await checked.node.close()
    expect(await featuresOf(file)).toBe(Feature.needCheck)
  })

  it('that is cancelled between two tables leaves the node with what it has repaired', async () => {
    const answers: unknown[] = []
    for (let last = 0; last < 4; last++) {
      const file = await createImage(SMALL)
      const first = await open(file)
      await first.node.write(0, filled(1, 2 * 4096))
      await first.node.write(2 ** 21, filled(1, 4096))
      await first.node.close()
      await poke(file, entry(1), BigInt(1000 * 4096))
      const { node } = await open(file)
      const read = (): Promise<unknown> => patternAt(node, 4096, 512).catch(({ code }) => code)
      expect(await read()).toBe('EINVAL')
      let left = last
      const progress: number[] = []
      const repair = (control: JobControl): Promise<unknown> => {
        const checkpoint = (): Promise<void> | undefined => {
          if (left-- === 0) void job.cancel()
          return control.checkpoint()
        }
        return node.check({ repair: 'all' }, { ...control, checkpoint })
      }
      const job: Job<unknown> = new Job(repair, { onProgress: (done, total) => progress.push(done / total) })
      const code = await job.done.then(
        () => 'ends',
        (error) => error.code,
      )
      answers.push([code, await read(), progress])
      await node.write(8192, filled(2, 4096))
      expect(await patternAt(node, 0, 4096)).toEqual([1])
      expect(await node.check({ repair: 'all' })).toMatchObject({ corruptions: 0, checkErrors: 0 })
      await node.close()
    }
    expect(answers).toEqual([
      ['ECANCELED', 'EINVAL', []],
      ['ECANCELED', 'EINVAL', [1 / 3]],
      ['ECANCELED', [0], [1 / 3, 2 / 3]],
      ['ends', [0], [1 / 3, 2 / 3, 1]],
    ])
  })

  it('counts right behind the 4095th cluster, where the arithmetic of QEMU finds a leak that is none', async () => {
    const file = await createImage({ cluster_size: 4096, table_size: 4, size: 32 * 2 ** 20 })
    const { node } = await open(file)
    for (let at = 0; at < node.size; at += 2 ** 20) await node.write(at, filled(1, 2 ** 20))
    expect(await node.check()).toMatchObject({ corruptions: 0, leaks: 0, allocatedClusters: 8192 })
  })
})

describe('headers', () => {
  const refused = async (change: (view: DataView) => void): Promise<string> => {
    const bytes = await toBytes(await createImage(SMALL))
    change(viewOf(bytes))
    return open(await openMemory(bytes)).then(
      () => 'opened',
      ({ message }: Error) => message.replace(/^Could not open [^:]*: /, ''),
    )
  }

  it.each<[string, (view: DataView) => void]>([
    ['Image not in QED format', (view) => view.setUint32(0, 1)],
    ['Unsupported QED features: 80', (view) => view.setUint8(16, 0x80)],
    ['QED cluster size is invalid', (view) => view.setUint32(4, 4097, true)],
    ['QED cluster size is invalid', (view) => view.setUint32(4, 2 ** 27, true)],
    ['QED table size is invalid', (view) => view.setUint32(8, 3, true)],
    ['QED table size is invalid', (view) => view.setUint32(8, 0, true)],
    ['QED image size is invalid', (view) => view.setBigUint64(48, 2n ** 64n - 1n, true)],
    ['QED image size is invalid', (view) => view.setBigUint64(48, 513n, true)],
    ['QED image size is invalid', (view) => view.setBigUint64(48, 2n ** 30n + 512n, true)],
    ['QED table offset is invalid', (view) => view.setBigUint64(40, 2n ** 64n - 1n, true)],
    ['QED table offset is invalid', (view) => view.setBigUint64(40, 512n, true)],
    ['QED table offset is invalid', (view) => view.setBigUint64(40, 0n, true)],
    ['QED table offset is invalid', (view) => view.setUint32(12, 0xffffffff, true)],
    [
      'QED backing filename offset is invalid',
      (view) => {
        view.setUint8(16, 1)
        view.setUint32(56, 4090, true)
        view.setUint32(60, 10, true)
      },
    ],
  ])('%s', async (message, change) => {
    expect(await refused(change)).toBe(message)
  })

  it('lose unknown autoclear bits to a writer, and keep them from a reader', async () => {
    const file = await createImage(SMALL)
    await poke(file, 32, 5n)
    await (await open(file, { readOnly: true })).node.close()
    expect(HEADER.read(await toBytes(file)).autoclearFeatures).toBe(5n)
    await (await open(file)).node.close()
    expect(HEADER.read(await toBytes(file)).autoclearFeatures).toBe(0n)
  })

  it('keep the backing file that they are given later', async () => {
    const file = await createImage(SMALL)
    const { node } = await open(file, { backing: null })
    await node.changeBackingFile('base.img', 'raw')
    expect(await node.info()).toMatchObject({ backingFilename: 'base.img', backingFormat: 'raw' })
    await node.changeBackingFile(null, undefined)
    expect(await node.info()).not.toHaveProperty('backingFilename')
    await expect(node.changeBackingFile('x'.repeat(4096), undefined)).rejects.toMatchObject({
      code: 'ENOSPC',
    })
    await poke(file, 24, 1n)
    await node.close()
    const again = await open(file, { backing: null })
    await expect(again.node.changeBackingFile('base.img', 'raw')).rejects.toMatchObject({ code: 'ENOTSUP' })
  })
})

describe('create', () => {
  const create = async (options: Record<string, unknown>): Promise<BlockNode> => {
    const file = await emptyDisk()
    await qedCreation.create({ file, options: parseOptions(qedCreation.options, options) })
    return file
  }

  it.each([
    [{}, 'Image creation needs a size parameter'],
    [
      { size: 1024, cluster_size: 1000 },
      'QED cluster size must be within range [4096, 67108864] and power of 2',
    ],
    [{ size: 1024, table_size: 3 }, 'QED table size must be within range [1, 16] and power of 2'],
    [
      { size: 2 ** 33, cluster_size: 4096, table_size: 1 },
      'QED image size must be a non-zero multiple of cluster size and less than 1073741824 bytes',
    ],
    [
      { size: 2 ** 30, cluster_size: 2 ** 26 },
      'QED image size must be a non-zero multiple of cluster size and less than 0 bytes',
    ],
  ])('refuses %j', async (options, message) => {
    await expect(create(options)).rejects.toThrow(message)
  })

  it('rounds the size up to sectors, and names the backing file', async () => {
    const file = await create({ size: 1000, backing_file: 'base.qcow2', backing_fmt: 'qcow2' })
    const { node } = await open(file, { backing: null })
    expect(node.size).toBe(KIB)
    const info = await node.info()
    expect(info).toMatchObject({ clusterSize: 65536, dirty: false, backingFilename: 'base.qcow2' })
    expect(info).not.toHaveProperty('backingFormat')
    expect(file.size).toBe(5 * 65536)
  })

  it('makes what is recognised', async () => {
    const file = await create({ size: KIB })
    const environment = { registry: new DriverRegistry([memory, qed]), host: denyHost }
    const node = await openNode(environment, { file })
    expect(node.driver.name).toBe('qed')
    await expect(node.truncate(512)).rejects.toThrow('Shrinking images is currently not supported')
    await expect(node.truncate(4096, { preallocation: 'full' })).rejects.toThrow(
      "Unsupported preallocation mode 'full'",
    )
  })
})
