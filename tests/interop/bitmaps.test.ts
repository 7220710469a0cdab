/**
 * Bitmaps pass back and forth between QEMU's programs and ours: each writes to images whose bitmaps the other made, and
 * changes them; a reader of its own says after each round that they have exactly what was written.
 */
import { spawnSync } from 'node:child_process'
import { type BlockNode, bitmapsOf, DriverRegistry, openNode } from '@vmblock/block-core'
import { file, nodeHost } from '@vmblock/block-core/node'
import { createRandom, type Random } from '@vmblock/block-core/testing'
import { qcow2 } from '@vmblock/qcow2'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Bench, haveQemu, openBench } from '../support/real-qemu.ts'
import { readBitmaps } from './src/bitmap-reader.ts'

let bench: Bench
beforeAll(() => {
  bench = openBench()
})
afterAll(() => bench.remove())

const environment = { registry: new DriverRegistry([file, qcow2]), host: nodeHost() }
const hasNbdInfo = ['nbdinfo', 'qemu-nbd'].every((name) => spawnSync(name, ['--version']).status === 0)
const DISK = 'disk.qcow2'
const SECTOR = 512
const MIB = 2 ** 20
const ROUNDS = 6

/** What a bitmap must have. */
interface Model {
  readonly granularity: number
  auto: boolean
  dirty: Set<number>
}

/** One side: it makes a session of requests, and changes bitmaps between sessions. */
interface Side {
  guest(requests: readonly Request[]): Promise<void>
  bitmap(...args: readonly string[]): Promise<void>
  resize(size: number): Promise<void>
}

interface Request {
  readonly kind: 'write' | 'zero' | 'discard'
  readonly offset: number
  readonly bytes: number
}

const theirs: Side = {
  async guest(requests) {
    const commands = requests.flatMap(({ kind, offset, bytes }) => [
      '-c',
      `${{ write: 'write -P 7', zero: 'write -z', discard: 'discard' }[kind]} ${offset} ${bytes}`,
    ])
    bench.run('qemu-io', '-f', 'qcow2', '-d', 'unmap', ...commands, DISK)
  },
  async bitmap(...args) {
    bench.run('qemu-img', 'bitmap', '-f', 'qcow2', ...args)
  },
  async resize(size) {
    bench.run('qemu-img', 'resize', '-q', '--shrink', '-f', 'qcow2', DISK, String(size))
  },
}

async function withNode(run: (node: BlockNode) => Promise<unknown>): Promise<void> {
  const node = await openNode(environment, {
    driver: 'qcow2',
    filename: bench.path(DISK),
    discard: 'unmap',
  })
  await run(node)
  await node.close()
}

const ours: Side = {
  guest: (requests) =>
    withNode(async (node) => {
      for (const { kind, offset, bytes } of requests) {
        if (kind === 'write') await node.write(offset, new Uint8Array(bytes).fill(7))
        else if (kind === 'zero') await node.writeZeroes(offset, bytes)
        else await node.discard(offset, bytes)
      }
    }),
  bitmap: (...args) =>
    withNode(async (node) => {
      const bitmaps = bitmapsOf(node)
      const name = args.at(-1)!
      const value = (option: string): string | undefined =>
        args.includes(option) ? args[args.indexOf(option) + 1] : undefined
      const source = value('--merge')
      if (args.includes('--add')) await bitmaps.add(name, { granularity: Number(value('-g')) })
      if (args.includes('--remove')) await bitmaps.remove(name)
      if (args.includes('--clear')) await bitmaps.clear(name)
      if (args.includes('--enable')) await bitmaps.enable(name)
      if (args.includes('--disable')) await bitmaps.disable(name)
      if (source !== undefined) await bitmaps.merge(name, source)
    }),
  resize: (size) => withNode((node) => node.truncate(size)),
}

function mark(model: Model, offset: number, bytes: number): void {
  const last = Math.floor((offset + bytes - 1) / model.granularity)
  for (let block = Math.floor(offset / model.granularity); block <= last; block++) model.dirty.add(block)
}

async function change(side: Side, models: Map<string, Model>, random: Random, size: number): Promise<void> {
  const name = random.pick(['a', 'b', 'c'])
  const model = models.get(name)
  if (!model) {
    const granularity = 2 ** random.int(9, 18)
    models.set(name, { granularity, auto: true, dirty: new Set() })
    return side.bitmap('--add', '-g', String(granularity), DISK, name)
  }
  const other = random.pick([...models.keys()])
  switch (random.pick(['remove', 'clear', 'enable', 'disable', 'merge', 'merge'] as const)) {
    case 'remove':
      models.delete(name)
      return side.bitmap('--remove', DISK, name)
    case 'clear':
      model.dirty.clear()
      return side.bitmap('--clear', DISK, name)
    case 'enable':
      model.auto = true
      return side.bitmap('--enable', DISK, name)
    case 'disable':
      model.auto = false
      return side.bitmap('--disable', DISK, name)
    case 'merge': {
      const { granularity, dirty } = models.get(other)!
      for (const block of [...dirty])
        mark(model, block * granularity, Math.min(granularity, size - block * granularity))
      return side.bitmap('--merge', other, DISK, name)
    }
  }
}

/** What the file says must be what was written. */
function judge(models: ReadonlyMap<string, Model>, size: number): void {
  const found = readBitmaps(bench.read(DISK)).map(({ name, granularity, inUse, auto, dirty }) => [
    name,
    { granularity, inUse, auto, dirty },
  ])
  const expected = [...models].map(([name, { granularity, auto, dirty }]) => [
    name,
    { granularity, inUse: false, auto, dirty: [...dirty].sort((x, y) => x - y) },
  ])
  expect(Object.fromEntries(found)).toEqual(Object.fromEntries(expected))
  expect(bench.attempt('qemu-img', 'check', '-q', DISK)).toEqual({ status: 0, stdout: '', stderr: '' })
  const [first] = models
  if (!hasNbdInfo || !first) return
  const [name, { granularity, dirty }] = first
  const server = ['[', 'qemu-nbd', '-r', '-f', 'qcow2', '-B', name, DISK, ']']
  const { stdout } = spawnSync('nbdinfo', ['--json', `--map=qemu:dirty-bitmap:${name}`, '--', ...server], {
    cwd: bench.directory,
    encoding: 'utf8',
  })
  const shown = (JSON.parse(stdout) as { offset: number; length: number; type: number }[])
    .filter(({ type }) => type === 1)
    .flatMap(({ offset, length }) =>
      Array.from({ length: Math.ceil(length / granularity) }, (_, i) => offset / granularity + i),
    )
  expect(shown).toEqual([...dirty].filter((block) => block * granularity < size).sort((x, y) => x - y))
}

describe.skipIf(!haveQemu)('bitmaps pass back and forth', () => {
  test.each([
    ['64 KiB clusters', 6 * MIB, 'compat=1.1', 1],
    ['512-byte clusters', MIB / 2, 'cluster_size=512', 2],
    ['lazy refcounts', 3 * MIB, 'lazy_refcounts=on,cluster_size=4k', 3],
    ['subclusters', 4 * MIB, 'extended_l2=on', 4],
  ])('%s', async (_, atFirst, options, seed) => {
    const random = createRandom(seed)
    let size = atFirst
    bench.run('qemu-img', 'create', '-q', '-f', 'qcow2', '-o', options, DISK, String(size))
    const models = new Map<string, Model>()
    for (let round = 0; round < ROUNDS; round++) {
      const side = random.chance(0.5) ? ours : theirs
      await change(side, models, random, size)
      const other = random.chance(0.5) ? ours : theirs
      const requests = Array.from({ length: random.int(1, 5) }, (): Request => {
        const kind = random.pick(['write', 'write', 'zero', 'discard'] as const)
        const unit = kind === 'discard' ? 65536 : SECTOR
        const offset = random.int(0, Math.floor(size / unit)) * unit
        const bytes = Math.min(random.int(1, 200) * unit, 4 * 65536, size - offset)
        return { kind, offset, bytes }
      })
      await other.guest(requests)
      for (const { offset, bytes } of requests)
        for (const model of models.values()) if (model.auto) mark(model, offset, bytes)
      if (random.chance(0.3)) {
        size = random.int(8, 16) * (atFirst > MIB ? MIB / 4 : 65536)
        await side.resize(size)
        for (const model of models.values())
          model.dirty = new Set([...model.dirty].filter((block) => block * model.granularity < size))
      }
      judge(models, size)
    }
  })
})
