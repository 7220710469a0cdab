/**
 * A file that another process truncates, removes or replaces while an image is open on it. Lost data is lost;
 * but every request ends in data, zeroes or a helpful error, the rest of the file is left alone, and a check
 * judges the outcome.
 */
import {
  copyFileSync,
  readFileSync,
  renameSync,
  statSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { BlockError, type BlockNode, reopenNode } from '@vmblock/block-core'
import { stamped, stampsOf } from '@vmblock/block-core/testing'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Bench, haveQemu, openBench } from '../support/real-qemu.ts'
import { createImage, KINDS, type Kind, openImage, takesDirect, WAYS, type Way } from './src/images.ts'

const KIB = 1024
const SIZE = 512 * KIB
/** The first half is written before the file is cut. */
const WRITTEN = SIZE / 2
const STAMP = 7

let bench: Bench
let direct = false
beforeAll(async () => {
  bench = openBench()
  direct = await takesDirect(bench.path('probe'))
  bench.write('base.raw', stamped(0, SIZE, 3, 512))
})
afterAll(() => bench.remove())

const openOn = (name: string, kind: Kind, way: Way, more = {}): Promise<BlockNode> =>
  openImage(bench.path(name), kind, way, { backing: bench.path('base.raw'), ...more })

/** Where the tables are when the file is cut. */
type Tables = 'in memory alone' | 'in memory and on disk' | 'on disk'
const TABLES: readonly Tables[] = ['in memory alone', 'in memory and on disk', 'on disk']

/** An image whose first half is written, open. */
async function prepare(name: string, kind: Kind, way: Way, tables: Tables): Promise<BlockNode> {
  await createImage(bench.path(name), kind, SIZE)
  const node = await openOn(name, kind, way)
  await node.write(0, stamped(0, WRITTEN, STAMP, 512))
  if (tables === 'in memory alone') return node
  if (tables === 'in memory and on disk') {
    await node.flush()
    return node
  }
  await node.close()
  return openOn(name, kind, way)
}

/**
 * Awaits a request.
 *
 * @returns undefined, or the error, which has to be a BlockError with a readable message
 */
async function ends(what: string, request: Promise<unknown>): Promise<BlockError | undefined> {
  try {
    await request
    return undefined
  } catch (error) {
    expect(error, what).toBeInstanceOf(BlockError)
    expect((error as BlockError).message, what).toMatch(/\w \w/)
    return error as BlockError
  }
}

/** Makes every kind of request; each ends. @returns how many of them failed */
async function askEverything(node: BlockNode): Promise<number> {
  const data = stamped(0, 64 * KIB, 9, 512)
  const requests: readonly (readonly [string, () => Promise<unknown>])[] = [
    ['read', () => node.read(0, new Uint8Array(node.size))],
    ['write over data', () => node.write(8 * KIB, data.subarray(0, 3000))],
    ['write anew', () => node.write(SIZE - 100 * KIB, data)],
    [
      'writes at once',
      () =>
        Promise.all([0, 1, 2, 3].map((i) => node.write(SIZE - 100 * KIB + i * 5000, data.subarray(0, 9000)))),
    ],
    ['zero', () => node.writeZeroes(16 * KIB, 20 * KIB, { mayUnmap: true })],
    ['discard', () => node.discard(32 * KIB, 16 * KIB)],
    ['status', () => node.blockStatus(0, SIZE)],
    ['flush', () => node.flush()],
    ['info', () => node.info()],
    ['grow', () => node.truncate(SIZE + 64 * KIB)],
    ['check', () => (node.can('check') ? node.check() : Promise.resolve())],
    ['read again', () => node.read(0, new Uint8Array(node.size))],
  ]
  let failures = 0
  for (const [what, run] of requests) if (await ends(what, run())) failures++
  return failures
}

/**
 * Opens the rest of a file, which may fail; an image that opens is checked by us and by QEMU.
 *
 * @returns whether it opened
 */
async function judge(name: string, kind: Kind, withQemu: boolean): Promise<boolean> {
  const way = WAYS[0]!
  let node: BlockNode
  try {
    node = await openOn(name, kind, way, {
      readOnly: true,
      ...(kind.checks !== 'no' && { checkMode: true }),
    })
  } catch (error) {
    expect(error).toBeInstanceOf(BlockError)
    return false
  }
  await ends('read', node.read(0, new Uint8Array(node.size)))
  if (kind.checks !== 'no') {
    const report = await node.check()
    expect(report.corruptions).toBeGreaterThanOrEqual(0)
    if (withQemu) {
      const { status } = bench.attempt('qemu-img', 'check', '-f', kind.format, bench.path(name))
      expect([0, 1, 2, 3]).toContain(status)
    }
  }
  await node.close()
  return true
}

/** Where the file is cut: shares of its length, and critical offsets. */
const CUTS: readonly (readonly [string, (length: number) => number])[] = [
  ['nothing left', () => 0],
  ['the middle of the header', () => 30],
  ['the end of the header', () => 512],
  ['the second cluster', () => 4096 + 100],
  ['the third cluster', () => 2 * 4096 + 700],
  ['the fourth cluster', () => 3 * 4096],
  ['a quarter', (length) => Math.floor(length / 4)],
  ['the middle of a cluster', (length) => Math.floor(length / 2 / 4096) * 4096 + 1234],
  ['all but the last byte', (length) => length - 1],
]

describe.each(WAYS)('a file that is cut off, $name', (way) => {
  for (const kind of KINDS) {
    test.each(TABLES)(`${kind.name}, tables %s`, async (tables) => {
      if (way.name === 'cache=none' && !direct) return // the file system does not support O_DIRECT
      for (const [what, cut] of CUTS) {
        const name = 'cut'
        const node = await prepare(name, kind, way, tables)
        const writes = [0, 20, 40].map((at) =>
          ends('write', node.write(at * KIB, stamped(0, 16 * KIB, 6, 512))),
        )
        truncateSync(bench.path(name), cut(statSync(bench.path(name)).size))
        await Promise.all(writes)
        await askEverything(node)
        await ends(`close after a cut at ${what}`, node.close())
        expect(node.isOpen).toBe(false)
        await judge(name, kind, haveQemu && way === WAYS[0])
      }
    })
  }
})

describe.each(KINDS)('what is left of a $name file', (kind) => {
  /** A cut after all tables and half of the data. */
  const cutInData = async (tables: Tables): Promise<{ node: BlockNode; kept: number }> => {
    const node = await prepare(kind.name, kind, WAYS[0]!, tables)
    const status = await node.blockStatus(WRITTEN / 2, 512)
    // The host offset of the middle of the disk; what was written first comes first in the file.
    const host = status.host?.offset ?? WRITTEN / 2
    truncateSync(bench.path(kind.name), host + 512)
    return { node, kept: WRITTEN / 2 + 512 }
  }

  test.each(TABLES)(
    'is still there, through the open image and after it was closed (tables %s)',
    async (tables) => {
      const { node, kept } = await cutInData(tables)
      const seen = new Uint8Array(WRITTEN)
      await node.read(0, seen)
      const stamps = stampsOf(seen, 0, 512)
      expect(stamps.slice(0, kept / 512).every((stamp) => stamp === STAMP)).toBe(true)
      // Beyond the end of a file everything reads as zeroes.
      expect(stamps.slice(kept / 512).every((stamp) => stamp === 0)).toBe(true)
      await node.write(0, stamped(0, 512, 8, 512))
      await node.flush()
      await node.close()
      const again = await openOn(kind.name, kind, WAYS[0]!)
      // A raw disk has lost all of the rest; QED, which ignores half a cluster, has entries that point past
      // the end.
      const whole = kept - 512
      await again.read(0, seen.subarray(0, whole))
      expect(stampsOf(seen, 0, 512)[0]).toBe(8)
      expect(stampsOf(seen.subarray(512, whole), 512, 512).every((stamp) => stamp === STAMP)).toBe(true)
      await again.close()
    },
  )
})

describe.each(WAYS)('a file that is no longer at its path, $name', (way) => {
  test.each(KINDS)('$name: goes on while it is open, and nothing else is touched', async (kind) => {
    if (way.name === 'cache=none' && !direct) return
    for (const fate of ['unlinked', 'moved', 'replaced'] as const) {
      const node = await prepare('gone', kind, way, 'in memory alone')
      copyFileSync(bench.path('gone'), bench.path('other'))
      if (fate === 'unlinked') unlinkSync(bench.path('gone'))
      else renameSync(bench.path('gone'), bench.path('moved'))
      const stranger = stamped(0, 64 * KIB, 1234, 512)
      if (fate === 'replaced') writeFileSync(bench.path('gone'), stranger)

      await node.write(1024, stamped(1024, 2048, 8, 512))
      await node.write(SIZE - 4096, stamped(SIZE - 4096, 4096, 8, 512))
      await node.flush()
      const seen = new Uint8Array(4096)
      await node.read(0, seen)
      expect(stampsOf(seen, 0, 512)).toEqual([STAMP, STAMP, 8, 8, 8, 8, STAMP, STAMP])

      // A reopen would open the path again.
      const error = await ends('reopen', reopenNode(node, { readOnly: true }))
      expect(error?.code).toBe(fate === 'replaced' ? 'EBUSY' : 'ENOENT')
      await node.write(0, stamped(0, 512, 9, 512))
      await node.close()

      if (fate === 'replaced') expect(Buffer.compare(readFileSync(bench.path('gone')), stranger)).toBe(0)
      else expect(() => statSync(bench.path('gone'))).toThrow('ENOENT')
      if (fate === 'unlinked') continue
      const again = await openOn('moved', kind, way)
      await again.read(0, seen)
      expect(stampsOf(seen, 0, 512)).toEqual([9, STAMP, 8, 8, 8, 8, STAMP, STAMP])
      if (kind.checks !== 'no') expect(await again.check()).toMatchObject({ corruptions: 0, leaks: 0 })
      await again.close()
      unlinkSync(bench.path('moved'))
    }
  })
})
