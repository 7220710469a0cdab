/** An overlay gets another backing file while it is open: what it shows stays the same, whatever the two chains hold. */
import {
  type BlockNode,
  type Disk,
  DriverRegistry,
  denyHost,
  formatImage,
  type ImageResolver,
  isBlockError,
  Job,
  memory,
  openNode,
  type RawOptions,
  rebaseNode,
  snapshotsOf,
} from '@vmblock/block-core'
import { opsOf } from '@vmblock/block-core/driver'
import { createRandom, type Random } from '@vmblock/block-core/testing'
import { afterEach, describe, expect, it } from 'vitest'
import { qcow2 } from '../index.ts'

const KIB = 1024
const registry = new DriverRegistry([memory, qcow2])

/** Files by name, for images that name each other. */
const files = new Map<string, Disk>()
const host: ImageResolver = {
  async resolve({ filename, driver }) {
    const file = files.get(filename)
    if (!file) return denyHost.resolve({ filename }, '', 'backing')
    return { driver: driver ?? 'qcow2', file }
  },
}
const environment = { registry, host }

afterEach(async () => {
  files.clear()
})

async function make(name: string, create: RawOptions): Promise<Disk> {
  const file = await openNode(environment, { driver: 'memory' })
  files.set(name, file)
  await formatImage(qcow2, file, create)
  return file
}
const image = (name: string, options: RawOptions = {}): Promise<Disk> =>
  openNode(environment, { driver: 'qcow2', file: files.get(name), discard: 'unmap', ...options })
const overlayOf = (backing: string, create: RawOptions = {}): RawOptions => ({
  backing_file: backing,
  backing_fmt: 'qcow2',
  ...create,
})

async function contentOf(node: BlockNode): Promise<Uint8Array> {
  const bytes = new Uint8Array(node.size)
  await node.read(0, bytes)
  return bytes
}

/** Writes data and zeroes here and there. */
async function scribble(node: BlockNode, random: Random, count = 12): Promise<void> {
  for (let i = 0; i < count; i++) {
    const offset = random.int(0, node.size / 512) * 512
    const bytes = Math.min(random.int(1, 200) * 512, node.size - offset)
    const kind = random.pick(['data', 'data', 'zeroes', 'same'] as const)
    if (kind === 'zeroes') await node.writeZeroes(offset, bytes, { mayUnmap: true })
    else await node.write(offset, kind === 'same' ? new Uint8Array(bytes).fill(7) : random.bytes(bytes))
  }
}
async function fill(name: string, random: Random): Promise<void> {
  const node = await image(name)
  await scribble(node, random)
  await node.close()
}

const KINDS: Readonly<Record<string, RawOptions>> = {
  plain: {},
  'small clusters': { cluster_size: 4 * KIB },
  subclusters: { extended_l2: true, cluster_size: 64 * KIB },
  'version 2': { compat: '0.10' },
  zstd: { compression_type: 'zstd' },
}

describe('rebase', () => {
  it.each(Object.keys(KINDS).flatMap((kind) => [[kind, false] as const, [kind, true] as const]))(
    'keeps what is shown: %s, compressed: %s',
    async (kind, compress) => {
      for (let seed = 1; seed <= 3; seed++) {
        const random = createRandom(seed)
        const size = (): number => random.int(1, 5) * 256 * KIB + random.int(0, 3) * 512
        await make('base', { size: size() })
        await fill('base', random)
        for (const name of ['old', 'new']) {
          const alone = random.chance(0.4)
          await make(name, {
            size: size(),
            cluster_size: random.pick([4 * KIB, 64 * KIB]),
            ...(!alone && overlayOf('base')),
          })
          await fill(name, random)
        }
        await make('top', overlayOf('old', { ...KINDS[kind], size: size() }))
        const top = await image('top')
        await scribble(top, random, 4)
        const before = await contentOf(top)
        for (const filename of random.pick([['new'], ['new', null, 'old'], [null, 'new', 'base']])) {
          await rebaseNode(top, { filename, compress })
          expect(Buffer.compare(await contentOf(top), before), `seed ${seed}, ${filename}`).toBe(0)
          expect((await top.info()).backingFilename ?? null).toBe(filename)
          expect(top.backing === undefined).toBe(filename === null)
        }
        expect((await top.check()).corruptions).toBe(0)
        await top.close()
        const again = await image('top', { 'read-only': true })
        expect(Buffer.compare(await contentOf(again), before), `seed ${seed}`).toBe(0)
        await again.close()
      }
    },
  )

  /** Two overlays of one base, and one on top of the first. */
  async function siblings(): Promise<Disk> {
    await make('base', { size: 1024 * KIB })
    const base = await image('base')
    await base.write(0, new Uint8Array(1024 * KIB).fill(1))
    await base.close()
    for (const name of ['old', 'new']) {
      await make(name, overlayOf('base', { size: 1024 * KIB }))
      const node = await image(name)
      await node.write(64 * KIB, new Uint8Array(64 * KIB).fill(name === 'old' ? 2 : 3))
      await node.close()
    }
    await make('top', overlayOf('old', { size: 1024 * KIB }))
    return image('top')
  }
  const heldBytes = async (node: BlockNode): Promise<number> => {
    let held = 0
    for (let at = 0; at < node.size; ) {
      const { bytes, allocated } = await node.blockStatus(at, node.size - at)
      if (allocated) held += bytes
      at += bytes
    }
    return held
  }

  it('reads and copies only what the two chains do not share', async () => {
    const top = await siblings()
    const reads: number[] = []
    const node = await image('new', { 'read-only': true })
    for (const read of [top.backing!.node, node.root, node.backing!.node]) {
      const ops = opsOf(read)
      const original = ops.read
      Object.assign(ops, {
        read: (offset: number, into: Uint8Array) => {
          reads.push(into.length)
          return original.call(ops, offset, into)
        },
      })
    }
    await rebaseNode(top, { filename: 'new', node })
    expect(reads).toEqual([64 * KIB, 64 * KIB])
    expect(await heldBytes(top)).toBe(64 * KIB)
    await top.close()
    await node.close()
  })

  it('loses no write that comes meanwhile, and lets reads through', async () => {
    const top = await siblings()
    let write: Promise<void> | undefined
    let read: Promise<Uint8Array> | undefined
    await new Job((control) => rebaseNode(top, { filename: null }, control), {
      onProgress: () => {
        write ??= top.write(0, new Uint8Array(512).fill(9))
        read ??= contentOf(top)
      },
    }).done
    await write
    expect([(await read)![0], (await contentOf(top))[0], (await contentOf(top))[70 * KIB]]).toEqual([1, 9, 2])
    await top.close()
  })

  it('leaves the old backing file when it is cancelled, and when it fails', async () => {
    const top = await siblings()
    const before = await contentOf(top)
    const job = new Job((control) => rebaseNode(top, { filename: 'new' }, control), {
      onProgress: (done) => {
        if (done > 0) void job.cancel(new Error('enough'))
      },
    })
    await expect(job.done).rejects.toThrow('enough')
    const ops = opsOf(top.root)
    const { write } = ops
    Object.assign(ops, { write: () => Promise.reject(new Error('disk on fire')) })
    await expect(rebaseNode(top, { filename: null })).rejects.toThrow('Error while writing to COW image')
    Object.assign(ops, { write })
    expect((await top.info()).backingFilename).toBe('old')
    expect(Buffer.compare(await contentOf(top), before)).toBe(0)
    await rebaseNode(top, { filename: 'new' })
    await top.close()
  })

  it('uses a node that is open, which stays open, and cannot be closed before the overlay', async () => {
    const top = await siblings()
    const node = await image('new', { 'read-only': true })
    await rebaseNode(top, { filename: 'renamed', node })
    expect(await top.info()).toMatchObject({ backingFilename: 'renamed', backingFormat: 'qcow2' })
    await expect(node.close()).rejects.toSatisfy((error) => isBlockError(error, 'EBUSY'))
    await top.close()
    await node.close()
  })

  it('refuses what would lose something, or make no sense', async () => {
    const top = await siblings()
    const code = (promise: Promise<unknown>) => promise.then(String, (error) => error.code)
    expect(await code(rebaseNode(top, { filename: 'gone' }))).toBe('EACCES')
    const loop = await image('top', { 'read-only': true, 'force-share': true, backing: null })
    await expect(rebaseNode(top, { filename: 'top', node: loop })).rejects.toThrow('infinite loop')
    await loop.close()
    expect(await code(rebaseNode(top, { filename: null, node: loop }))).toBe('EINVAL')
    const base = await image('base', { 'read-only': true })
    expect(await code(rebaseNode(top, { filename: 'x'.repeat(2000), node: base }))).toBe('EINVAL')
    await base.close()
    await snapshotsOf(top).create('s')
    expect(await code(rebaseNode(top, { filename: 'new' }))).toBe('ENOTSUP')
    expect((await top.info()).backingFilename).toBe('old')
    await rebaseNode(top, { filename: 'new', changesSnapshots: true })
    await top.close()
    const readOnly = await image('top', { 'read-only': true })
    expect(await code(rebaseNode(readOnly, { filename: null, changesSnapshots: true }))).toBe('EPERM')
    expect(await code(rebaseNode(files.get('top')!, { filename: null }))).toBe('ENOTSUP')
    await readOnly.close()
  })
})
