import { describe, expect, it, vi } from 'vitest'
import { BlockError } from '../base/errors.ts'
import type { Change, ChangeObserver, ReadOld } from '../contract/changes.ts'
import type { BlockNode } from '../contract/node.ts'
import type { NodeOps } from '../contract/node-ops.ts'
import { DiskHandle } from '../disk/handle.ts'
import { openMemory } from '../drivers/memory.ts'
import { nodeOf, toBytes } from '../testing/nodes.ts'
import { createRandom, type Random } from '../testing/random.ts'
import { neverWaitForTurns } from '../testing/steady-loop.ts'

const turns = async (count: number): Promise<void> => {
  for (let i = 0; i < count; i++) await Promise.resolve()
}
neverWaitForTurns()

/** A disk in memory that takes its time, a few bytes at a time, and may fail in the middle of a write. */
function slowDisk(size: number, random: Random, more: Partial<NodeOps> = {}, failures = 0) {
  let content = random.bytes(size)
  const put = async (offset: number, bytes: number, byteAt: (index: number) => number): Promise<void> => {
    for (let done = 0; done < bytes; done += 512) {
      await turns(random.int(0, 4))
      if (random.chance(failures)) throw new BlockError('EIO', 'torn')
      for (let i = done; i < Math.min(done + 512, bytes); i++) content[offset + i] = byteAt(i)
    }
  }
  const ops: NodeOps = {
    size: () => content.length,
    async read(offset, into) {
      for (let done = 0; done < into.length; done += 512) {
        await turns(random.int(0, 4))
        const piece = content.subarray(offset + done, offset + Math.min(done + 512, into.length))
        into.set(piece, done)
      }
    },
    write: (offset, from) => put(offset, from.length, (index) => from[index]!),
    writeCompressed: (offset, from) => put(offset, from.length, (index) => from[index]!),
    discard: (offset, bytes) => put(offset, bytes, () => 0),
    async truncate(to) {
      await turns(random.int(0, 4))
      const old = content
      content = new Uint8Array(to)
      content.set(old.subarray(0, to))
    },
    async makeEmpty() {
      await put(0, content.length, () => 0)
    },
    ...more,
  }
  return { ops, content: () => content }
}

/** One random change; most overlap others. */
function randomChange(node: BlockNode, random: Random): Promise<void> {
  const cluster = node.limits.compressedAlignment
  const offset = random.int(0, node.size)
  const bytes = random.int(1, Math.min(6000, node.size - offset) + 1)
  const start = offset - (offset % cluster)
  switch (random.int(0, 12)) {
    case 0:
    case 1:
      return node.writeZeroes(offset, bytes, { fua: random.chance(0.3) })
    case 2:
      return node.discard(offset, bytes)
    case 3:
      return node.writeCompressed(start, random.bytes(Math.min(2 * cluster, node.size - start)))
    case 4:
      return node.write(offset, new Uint8Array(bytes))
    default:
      return node.write(offset, random.bytes(bytes), { fua: random.chance(0.2) })
  }
}

/** Keeps `inFlight` changes running until `count` were made. */
async function storm(node: BlockNode, random: Random, count: number, inFlight = 8): Promise<void> {
  let left = count
  const one = async (): Promise<void> => {
    while (left-- > 0) {
      await randomChange(node, random).catch((error: unknown) => {
        if (!(error instanceof BlockError) || error.code !== 'EIO') throw error
      })
      // Also an operation on the whole node, and one that waits for all others.
      if (random.chance(0.01)) await node.makeEmpty().catch(() => {})
      if (random.chance(0.02)) await node.drained(() => turns(3))
    }
  }
  await Promise.all(Array.from({ length: inFlight }, one))
}

/** Saves what changes are about to overwrite. It trusts that no other change runs between its read and the change. */
class CopyBeforeWrite implements ChangeObserver {
  readonly saved: Uint8Array
  readonly #has: Uint8Array
  constructor(size: number) {
    this.saved = new Uint8Array(size)
    this.#has = new Uint8Array(size)
  }
  async before({ offset, bytes }: Change, readOld: ReadOld) {
    const missing: number[] = []
    for (let at = offset; at < offset + bytes; at++) if (this.#has[at] === 0) missing.push(at)
    const old = new Uint8Array(bytes)
    if (missing.length > 0) await readOld(offset, old)
    for (const at of missing) this.saved[at] = old[at - offset]!
    this.#has.fill(1, offset, offset + bytes)
  }
  /** The disk as it was: what was saved, and what was never changed. */
  pointInTime(now: Uint8Array): Uint8Array {
    return this.saved.map((byte, index) => (this.#has[index] ? byte : now[index]!))
  }
}

const SIZE = 40_000
/** Disks that differ in what the core has to do for them. */
const DISKS: readonly (readonly [
  name: string,
  more: Partial<NodeOps>,
  open: (ops: NodeOps) => BlockNode,
  failures: number,
])[] = [
  ['plain', { limits: { compressedAlignment: 4096 } }, nodeOf, 0],
  [
    'of blocks',
    { limits: { requestAlignment: 512, compressedAlignment: 2048, maxTransfer: 1024 } },
    nodeOf,
    0,
  ],
  [
    'that detects zeroes',
    { limits: { maxTransfer: 4096 } },
    (ops) => nodeOf(ops, { config: { detectZeroes: 'on' } }),
    0,
  ],
  ['written through', { limits: { requestAlignment: 512 } }, (ops) => new DiskHandle(nodeOf(ops), false), 0],
  ['that fails', { limits: { requestAlignment: 512, compressedAlignment: 4096 } }, nodeOf, 0.05],
]

describe.each(DISKS)('observers of a disk %s', (_, more, openOn, failures) => {
  const open = (seed: number) => {
    const random = createRandom(seed)
    const disk = slowDisk(SIZE, random, more, failures)
    return { random, disk, node: openOn(disk.ops) }
  }

  it.each([1, 2, 3, 4, 5])('can keep the content of a point in time (seed %i)', async (seed) => {
    const { random, disk, node } = open(seed)
    const running = storm(node, random, 100)
    let observer!: CopyBeforeWrite
    let then!: Uint8Array
    await node.withoutWrites(async () => {
      observer = new CopyBeforeWrite(SIZE)
      then = disk.content().slice()
      node.observe(observer)
    })
    await running
    await storm(node, random, 200)
    expect(disk.content()).not.toEqual(then)
    expect(Buffer.compare(observer.pointInTime(disk.content()), then)).toBe(0)
  })

  it.each([1, 2, 3, 4, 5])('learn of every range that a copy has to follow (seed %i)', async (seed) => {
    const { random, disk, node } = open(seed)
    const dirty = new Set<number>()
    const running = storm(node, random, 100)
    await node.withoutWrites(async () => {
      const mark = ({ offset, bytes }: Change): void => {
        for (let at = offset - (offset % 512); at < offset + bytes; at += 512) dirty.add(at)
      }
      node.observe({ after: mark })
    })
    // Copied while changes run: what changes during the copy is dirty again afterwards.
    const copy = openMemory(new Uint8Array(SIZE))
    const follow = async (at: number): Promise<void> => {
      dirty.delete(at)
      const piece = new Uint8Array(Math.min(512, SIZE - at))
      await node.read(at, piece)
      await copy.write(at, piece)
    }
    const more = storm(node, random, 200)
    for (let at = 0; at < SIZE; at += 512) await follow(at)
    await Promise.all([running, more])
    expect(dirty.size).toBeGreaterThan(0)
    for (const at of dirty) await follow(at)
    expect(Buffer.compare(await toBytes(copy), disk.content())).toBe(0)
  })
})

describe('a change', () => {
  /** A node of blocks of 512 bytes, and what its observer is told. */
  function watched(more: Partial<NodeOps> = {}, config = {}) {
    const disk = slowDisk(SIZE, createRandom(1), {
      limits: { requestAlignment: 512, maxTransfer: 1024 },
      ...more,
    })
    const node = nodeOf(disk.ops, { config })
    const told: [when: string, ...change: (string | number)[]][] = []
    const tell =
      (when: string) =>
      ({ kind, offset, bytes }: Change): void =>
        void told.push([when, kind, offset, bytes])
    const end = node.observe({ before: tell('before'), after: tell('after') })
    return { node, told, end, content: disk.content }
  }
  const both = (...change: (string | number)[]) => [
    ['before', ...change],
    ['after', ...change],
  ]

  it('is told once, with the blocks it touches, however many steps it takes', async () => {
    const { node, told } = watched()
    const cases: [() => Promise<unknown>, ...(string | number)[]][] = [
      [() => node.write(1000, new Uint8Array(5000).fill(1)), 'write', 512, 5632],
      [() => node.write(512, new Uint8Array(512).fill(1), { fua: true }), 'write', 512, 512],
      [() => node.writeZeroes(100, 3000), 'writeZeroes', 0, 3584],
      [() => node.writeCompressed(4096, new Uint8Array(4096)), 'writeCompressed', 4096, 4096],
      [() => node.discard(512, 1024), 'discard', 512, 1024],
      [() => node.truncate(30_000), 'truncate', 30_000, 10_000],
      [() => node.truncate(30_500), 'truncate', 30_000, 500],
      [() => node.write(30_400, new Uint8Array(100)), 'write', 30_208, 292],
      [() => node.makeEmpty(), 'makeEmpty', 0, 30_500],
    ]
    for (const [run, ...change] of cases) {
      told.length = 0
      await run()
      expect(told).toEqual(both(...change))
    }
  })

  it('keeps the kind that was requested, where zeroes are detected', async () => {
    const { node, told } = watched({}, { detectZeroes: 'unmap' })
    await node.write(0, new Uint8Array(600))
    expect(told).toEqual(both('write', 0, 1024))
  })

  it('is none where nothing is done: reads, empty requests, discards without a driver that can, VM state', async () => {
    const { node, told } = watched({ discard: undefined, writeVmState: async () => {} })
    await node.read(0, new Uint8Array(512))
    await node.write(0, new Uint8Array(0))
    await node.discard(0, 512)
    await node.writeVmState(0, new Uint8Array(512))
    await node.flush()
    await expect(node.write(SIZE, new Uint8Array(1))).rejects.toMatchObject({ code: 'EIO' })
    await expect(node.writeCompressed(1, new Uint8Array(512))).rejects.toMatchObject({ code: 'EINVAL' })
    expect(told).toEqual([])
  })

  it('covers a whole node that an amendment or a repair may have changed, and its growth', async () => {
    let size = 1000
    const check = async () => ({
      corruptions: 0,
      leaks: 0,
      corruptionsFixed: 0,
      leaksFixed: 0,
      checkErrors: 0,
    })
    const amend = async (): Promise<void> => {
      size = 1500
    }
    const { node, told } = watched({
      limits: {},
      size: () => size,
      check,
      amend,
      changeBackingFile: async () => {},
    })
    await node.check()
    await node.changeBackingFile(null, undefined)
    expect(told).toEqual([])
    await node.check({ repair: 'all' })
    await node.amend({})
    expect(told).toEqual([
      ...both('repair', 0, 1000),
      ['before', 'amend', 0, 1000],
      ['after', 'amend', 0, 1500],
    ])
  })

  it('is told also if it fails', async () => {
    const write = () => Promise.reject(new BlockError('ENOSPC', 'full'))
    const { node, told } = watched({ write })
    await expect(node.write(0, new Uint8Array(512))).rejects.toMatchObject({ code: 'ENOSPC' })
    expect(told).toEqual(both('write', 0, 512))
  })

  it('that an observer refuses changes nothing', async () => {
    const write = vi.fn(async () => {})
    const { node, told } = watched({ write })
    const stop = node.observe({
      before: () => Promise.reject(new BlockError('ENOSPC', 'no room to save it')),
    })
    await expect(node.write(0, new Uint8Array(512))).rejects.toMatchObject({ code: 'ENOSPC' })
    expect(write).not.toHaveBeenCalled()
    expect(told).toEqual(both('write', 0, 512))
    stop()
    await node.write(0, new Uint8Array(512))
    expect(write).toHaveBeenCalledTimes(1)
  })

  it('waits for the observer before it, and others that overlap wait for it', async () => {
    const { node, content } = watched()
    let allow!: () => void
    const asked: number[] = []
    node.observe({
      before({ offset }) {
        asked.push(offset)
        return offset === 0 ? new Promise<void>((resolve) => (allow = resolve)) : undefined
      },
    })
    const before = content().slice()
    const done: string[] = []
    const all = [
      node.write(0, new Uint8Array(1024).fill(1)).then(() => done.push('first')),
      node.write(512, new Uint8Array(512).fill(2)).then(() => done.push('overlapping')),
      node.write(1024, new Uint8Array(512).fill(3)).then(() => done.push('beside')),
      node.truncate(1000).then(() => done.push('truncate')),
    ]
    await turns(100)
    expect(done).toEqual(['beside'])
    expect(asked).toEqual([0, 1024])
    expect(content().subarray(0, 1024)).toEqual(before.subarray(0, 1024))
    allow()
    await Promise.all(all)
    expect(done).toEqual(['beside', 'first', 'overlapping', 'truncate'])
    expect(content().subarray(512)).toEqual(new Uint8Array(488).fill(2))
  })

  it('shows what it is about to overwrite even while its node is drained', async () => {
    const { node } = watched()
    const seen: number[] = []
    node.observe({
      async before({ offset }, readOld) {
        await turns(10)
        const old = new Uint8Array(SIZE).fill(9)
        await readOld(offset, old)
        seen.push(old[0]!, old[SIZE - 1]!)
      },
    })
    const first = (await toBytes(node))[512]!
    const write = node.write(512, new Uint8Array(512))
    await node.drained(() => turns(1))
    await write
    await node.truncate(1)
    await node.makeEmpty()
    // Beyond the end there are zeroes.
    expect(seen).toEqual([first, 0, expect.any(Number), 0, expect.any(Number), 0])
  })

  it('does not begin once the node crashed while an observer was asked', async () => {
    const write = vi.fn(async () => {})
    const makeEmpty = vi.fn(async () => {})
    for (const run of [
      (node: BlockNode) => node.write(0, new Uint8Array(512)),
      (node: BlockNode) => node.makeEmpty(),
    ]) {
      const { node } = watched({ write, makeEmpty })
      node.observe({ before: () => node.crash() })
      await expect(run(node)).rejects.toMatchObject({ code: 'ECANCELED' })
    }
    expect(write).not.toHaveBeenCalled()
    expect(makeEmpty).not.toHaveBeenCalled()
  })

  it('is flushed like one without observers', async () => {
    const flush = vi.fn(async () => {})
    const node = new DiskHandle(watched({ flush }).node, false)
    await node.write(0, new Uint8Array(512))
    await node.writeCompressed(0, new Uint8Array(512))
    expect(flush).toHaveBeenCalledTimes(2)
  })
})

describe('an observation', () => {
  const write = (node: BlockNode): Promise<void> => node.write(0, Uint8Array.of(1))

  it('ends for itself, at once, also while changes run', async () => {
    const node = openMemory(new Uint8Array(10))
    const after = vi.fn()
    const before = vi.fn()
    const observer = { before, after }
    let endFirst = (): void => {}
    const end = node.observe({ before: () => endFirst() })
    const ends = [node.observe(observer), node.observe(observer)]
    await write(node)
    endFirst = ends[0]!
    await write(node)
    for (const stop of [...ends, end, end]) stop()
    await write(node)
    expect([before.mock.calls.length, after.mock.calls.length]).toEqual([3, 3])
  })

  it('tells all, also if one throws, and the request fails', async () => {
    const node = openMemory(new Uint8Array(10))
    const after = vi.fn()
    node.observe({
      after() {
        throw new BlockError('EINVAL', 'a mistake')
      },
    })
    node.observe({ after })
    await expect(write(node)).rejects.toThrow('a mistake')
    expect(after).toHaveBeenCalledTimes(1)
  })

  it.each([undefined, null, {}, () => {}, { before: 1 }, { after: () => {}, before: 'x' }])(
    'is refused for %o, which is no observer',
    (value) => {
      const node = openMemory(new Uint8Array(10))
      expect(() => node.observe(value as never)).toThrow("Parameter 'observer' expects")
    },
  )
})
