/** Disks of equal blocks, as a small format uses them: a table of 32-bit block numbers, then the blocks. */
import { describe, expect, it } from 'vitest'
import { BlockError } from '../base/errors.ts'
import { cow, storage } from '../contract/child-kinds.ts'
import { defineDriver } from '../contract/driver.ts'
import type { BlockNode } from '../contract/node.ts'
import { memory } from '../drivers/memory.ts'
import { forwardOps, passThrough } from '../drivers/pass-through.ts'
import { WriteLog, writeLog } from '../drivers/write-log.ts'
import { runModel } from '../testing/model.ts'
import { openTestNode } from '../testing/nodes.ts'
import { BlockMap, endOfBlocks, NO_BLOCK, ZERO_BLOCK } from './block-map.ts'
import { viewOf } from './layout.ts'

const BLOCK = 1024
const BLOCKS = 64
const TABLE = BLOCKS * 4
const SHOWS_ZEROES = 0xffffffff

/** The small format; its disk has {@link BLOCKS} blocks. */
const blocks = (hasZeroBlocks: boolean) =>
  defineDriver({
    name: 'blocks',
    kind: 'format',
    children: { file: storage, backing: cow },
    async open(context) {
      const file = await context.requireChild('file')
      const backing = await context.child('backing')
      const table = new Uint8Array(TABLE)
      await file.read(0, table.subarray(0, Math.min(TABLE, file.size)))
      const offsets = Float64Array.from({ length: BLOCKS }, (_, index) => {
        const entry = viewOf(table).getUint32(index * 4)
        return entry === SHOWS_ZEROES ? ZERO_BLOCK : entry * BLOCK
      })
      const map = new BlockMap({
        file,
        blockSize: BLOCK,
        offsets,
        backing,
        hasZeroBlocks,
        async allocate() {
          const offset = Math.max(Math.ceil(file.size / BLOCK), 1) * BLOCK
          await file.truncate(offset + BLOCK, { exact: true })
          return { offset, zeroed: true }
        },
        async store(indexes) {
          for (const index of indexes) {
            const offset = offsets[index]!
            viewOf(table).setUint32(index * 4, offset === ZERO_BLOCK ? SHOWS_ZEROES : offset / BLOCK)
            await file.write(index * 4, table.subarray(index * 4, index * 4 + 4))
          }
        },
      })
      return {
        size: () => BLOCKS * BLOCK,
        read: (offset, into) => map.read(offset, into),
        write: (offset, from) => map.write(offset, from),
        writeZeroes: (offset, bytes, { mayUnmap }) => map.writeZeroes(offset, bytes, mayUnmap === true),
        discard: (offset, bytes) => map.discard(offset, bytes),
        blockStatus: (offset, bytes) => map.blockStatus(offset, bytes),
        flush: () => map.flush(),
        close: () => map.flush(),
      }
    },
  })

const emptyFile = (): Promise<BlockNode> => openTestNode(memory, { options: { size: TABLE } })
const filled = (value: number, bytes: number): Uint8Array => new Uint8Array(bytes).fill(value)

describe('a map of blocks', () => {
  it.each([
    [1, false],
    [2, true],
    [3, false],
    [4, true],
  ])('seed %i shows what an array of bytes shows, zero blocks: %s', async (seed, hasZeroBlocks) => {
    const reopened = async (node: BlockNode): Promise<BlockNode> => {
      const file = node.children.get('file')!.node
      await node.close()
      return openTestNode(blocks(hasZeroBlocks), { children: { file } })
    }
    await runModel({
      seed,
      operations: 300,
      granularity: BLOCK,
      discard: 'undefined',
      makeNode: async () => openTestNode(blocks(hasZeroBlocks), { children: { file: await emptyFile() } }),
      reopen: reopened,
    })
  })

  it('shows the backing file around what was written, and hides it under zeroes', async () => {
    for (const hasZeroBlocks of [false, true]) {
      const backing = await openTestNode(memory, { options: { size: BLOCKS * BLOCK } })
      await backing.write(0, filled(7, BLOCKS * BLOCK))
      const node = await openTestNode(blocks(hasZeroBlocks), {
        children: { file: await emptyFile(), backing },
      })
      await node.write(BLOCK + 10, filled(1, 20))
      await node.writeZeroes(4 * BLOCK, BLOCK)
      const shown = new Uint8Array(BLOCKS * BLOCK)
      await node.read(0, shown)
      const expected = filled(7, BLOCKS * BLOCK)
      expected.fill(1, BLOCK + 10, BLOCK + 30)
      expected.fill(0, 4 * BLOCK, 5 * BLOCK)
      expect(Buffer.compare(shown, expected)).toBe(0)
      await node.close()
    }
  })

  it('writes entries after their data is durable, and flushes them', async () => {
    const log = new WriteLog()
    const file = await openTestNode(writeLog, { options: { log }, children: { file: await emptyFile() } })
    const node = await openTestNode(blocks(false), { children: { file } })
    await node.write(0, filled(1, 100))
    await node.write(5 * BLOCK, filled(2, BLOCK))
    expect(log.entries.every((entry) => entry.kind !== 'write' || entry.offset >= TABLE)).toBe(true)
    const before = log.entries.length
    await node.flush()
    expect(log.entries.slice(before).map(({ kind }) => kind)).toEqual(['flush', 'write', 'write', 'flush'])
    await node.write(5 * BLOCK, filled(3, BLOCK))
    const after = log.entries.length
    await node.flush()
    expect(log.entries.slice(after).map(({ kind }) => kind)).toEqual(['flush'])
    await node.close()
  })

  it('gives one place to writers that meet in a new block', async () => {
    const file = await emptyFile()
    const node = await openTestNode(blocks(false), { children: { file } })
    await Promise.all(
      Array.from({ length: 8 }, (_, index) => node.write(index * 128, filled(index + 1, 128))),
    )
    await node.flush()
    expect(file.size).toBe(2 * BLOCK)
    const shown = new Uint8Array(BLOCK)
    await node.read(0, shown)
    expect([...shown]).toEqual(Array.from({ length: BLOCK }, (_, at) => Math.floor(at / 128) + 1))
    await node.close()
  })

  it('links a block again only after the flush that writes its zeroes', async () => {
    const log = new WriteLog()
    const backing = await openTestNode(memory, { options: { size: BLOCKS * BLOCK } })
    await backing.write(0, filled(7, BLOCKS * BLOCK))
    let goOn = (): void => undefined
    const held = new Promise<void>((resolve) => {
      goOn = resolve
    })
    const slow = {
      ...passThrough,
      async open(context: Parameters<typeof passThrough.open>[0]) {
        const child = await context.requireChild('file')
        return { ...forwardOps(child), flush: () => held.then(() => child.flush()) }
      },
    }
    const logged = await openTestNode(writeLog, { options: { log }, children: { file: await emptyFile() } })
    const file = await openTestNode(slow, { children: { file: logged } })
    const node = await openTestNode(blocks(true), { children: { file, backing } })
    // The flush has something to wait for.
    await node.write(0, filled(5, BLOCK))
    await node.writeZeroes(2 * BLOCK, BLOCK)
    const before = log.entries.length
    const flushed = node.flush()
    const written = node.write(2 * BLOCK, filled(1, BLOCK))
    const isData = ({ kind, offset }: { kind: string; offset: number }): boolean =>
      kind === 'write' && offset >= TABLE
    while (!log.entries.slice(before).some(isData)) await new Promise(setImmediate)
    await new Promise(setImmediate)
    goOn()
    await Promise.all([flushed, written])
    const entries = log.entries.filter(({ kind, offset }) => kind === 'write' && offset === 2 * 4)
    expect(entries.map((entry) => 'data' in entry && [...entry.data!])).toEqual([[255, 255, 255, 255]])
    await node.flush()
    const shown = new Uint8Array(BLOCK)
    await node.read(2 * BLOCK, shown)
    expect(shown).toEqual(filled(1, BLOCK))
    await node.close()
  })

  it('takes no space for zeroes where nothing is', async () => {
    const file = await emptyFile()
    const node = await openTestNode(blocks(false), { children: { file } })
    await node.writeZeroes(100, 10 * BLOCK)
    expect(file.size).toBe(TABLE)
    expect(await node.blockStatus(0, 20 * BLOCK)).toMatchObject({
      bytes: 20 * BLOCK,
      zero: true,
      data: false,
    })
    await node.close()
  })
})

describe('a format with hooks', () => {
  it('gets back the place of a block that could not be filled, and writes before the data is durable', async () => {
    const steps: string[] = []
    let isFull = true
    const offsets = new Float64Array(4)
    const step = async (name: string): Promise<void> => void steps.push(name)
    const map = new BlockMap({
      file: {
        debugEvent: () => undefined,
        flush: () => step('flush'),
        async write() {
          if (isFull) throw new BlockError('ENOSPC', 'No space left on device')
          steps.push('data')
        },
      } as never,
      blockSize: BLOCK,
      offsets,
      allocate: async () => ({ offset: 5 * BLOCK, zeroed: true }),
      giveBack: ({ offset }) => void steps.push(`free ${offset}`),
      beforeStore: () => step('count'),
      store: (indexes) => step(`entries ${indexes.join()}`),
    })
    await expect(map.write(0, filled(1, 10))).rejects.toThrow('No space left on device')
    expect([...offsets]).toEqual([0, 0, 0, 0])
    isFull = false
    await map.write(2 * BLOCK, filled(1, 10))
    await map.flush()
    await map.flush()
    map.link(2, NO_BLOCK)
    await map.flush()
    const stored = ['count', 'flush', 'entries 2', 'flush']
    expect(steps).toEqual([`free ${5 * BLOCK}`, 'data', ...stored, 'flush', ...stored])
    expect(offsets[2]).toBe(NO_BLOCK)
  })
})

describe('the end of the blocks', () => {
  it('is behind the last, and behind the tables', () => {
    expect(endOfBlocks(Float64Array.of(NO_BLOCK, 8192, ZERO_BLOCK, 4096), 1024, 512)).toBe(9216)
    expect(endOfBlocks(Float64Array.of(NO_BLOCK), 1024, 512)).toBe(512)
    expect(endOfBlocks(Float64Array.of(1024), 1536, 512, 512)).toBe(2048)
  })

  it.each([
    ['one place', [4096, 4096], 'blocks 0 and 1 overlap at 4096'],
    ['half a block', [4608, 4096], 'blocks 1 and 0 overlap at 4608'],
    ['in a table', [100, 4096], 'block 0 lies at 100, in front of the data, which begins at 512'],
  ])('is refused: %s', (_, offsets, message) => {
    expect(() => endOfBlocks(Float64Array.from(offsets), 1024, 512)).toThrow(message)
  })
})
