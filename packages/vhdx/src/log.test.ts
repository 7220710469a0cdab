/** The log as the driver writes it: the order of writes, each state that a power cut may leave of a flush, and failures. */
import {
  type BlockNode,
  blkdebug,
  DriverRegistry,
  denyHost,
  formatImage,
  memory,
  openNode,
} from '@vmblock/block-core'
import { CrashDisk } from '@vmblock/block-core/testing'
import { describe, expect, it } from 'vitest'
import { vhdx } from './driver.ts'
import { MIB } from './format/header.ts'
import {
  anyVhdx,
  BAT_AT,
  bytesAt,
  createImage,
  DATA_AT,
  filled,
  hasLog,
  headerOf,
  LOG_AT,
  open,
} from './testing/images.ts'

type Entries = Awaited<ReturnType<typeof open>>['log']['entries']

const where = (offset: number): string => {
  if (offset < MIB) return 'header'
  if (offset < BAT_AT) return 'log'
  return offset < DATA_AT ? 'table' : 'data'
}

/** What was done, in order: `header`, `log`, `table`, `data`, `flush`, `truncate`. */
const steps = (entries: Entries): string[] =>
  entries.map((entry) => (entry.kind === 'write' ? where(entry.offset) : entry.kind))

describe('writes go in this order', () => {
  it('of the first flush, of later ones, and of the end', async () => {
    const file = await createImage()
    const { node, log } = await open(file)
    expect(steps(log.entries)).toEqual([])
    await node.write(0, filled(1, MIB))
    expect(steps(log.entries)).toEqual(['header', 'flush', 'header', 'flush', 'truncate', 'data'])
    let seen = log.entries.length
    const since = (): string[] => {
      const some = steps(log.entries.slice(seen))
      seen = log.entries.length
      return some
    }
    await node.flush()
    expect(since()).toEqual(['flush', 'log', 'flush', 'header', 'flush', 'header', 'flush'])
    await node.write(MIB, filled(2, MIB))
    await node.flush()
    expect(since()).toEqual(['truncate', 'data', 'flush', 'log', 'flush'])
    await node.write(MIB, filled(3, MIB))
    await node.flush()
    expect(since()).toEqual(['data', 'flush'])
    await node.close()
    expect(since()).toEqual(['table', 'flush', 'header', 'flush', 'header', 'flush'])
    expect(await hasLog(file)).toBe(false)
  })

  it('of one flush with many blocks: one entry', async () => {
    const file = await createImage({ size: 600 * MIB })
    const { node, log } = await open(file)
    // Three sectors of the table.
    for (const block of [0, 1, 511, 512, 599]) await node.write(block * MIB, filled(1, 512))
    await node.flush()
    const entries = log.entries.filter((entry) => entry.kind === 'write' && where(entry.offset) === 'log')
    expect(entries.map((entry) => entry.kind === 'write' && entry.bytes)).toEqual([3 * 4096])
    await node.close()
  })

  it('of a flush that does not fit into the log: as many entries as it needs, and the log emptied in between', async () => {
    const file = await createImage({ size: 4096 * MIB })
    const { node, log } = await open(file, {}, 3 * 4096)
    for (let block = 0; block < 4096; block += 512) await node.write(block * MIB, filled(1, 512))
    const before = log.entries.length
    await node.flush()
    const done = steps(log.entries.slice(before))
    // Eight sectors, two in an entry.
    expect(done.filter((step) => step === 'log').length).toBe(4)
    expect(done.filter((step) => step === 'table').length).toBe(6)
    await node.crash()
    const { node: again } = await open(file)
    for (let block = 0; block < 4096; block += 512) expect((await bytesAt(again, block * MIB, 1))[0]).toBe(1)
    await again.close()
  })

  it('of no session that changes nothing', async () => {
    const file = await createImage()
    const { node, log } = await open(file)
    await bytesAt(node, 0, 100)
    await node.flush()
    await node.check()
    await node.close()
    expect(steps(log.entries).filter((step) => step !== 'flush')).toEqual([])
  })
})

it('the data-write GUID changes once in a session, before anything that a guest can see', async () => {
  const file = await createImage()
  const before = await headerOf(file)
  const { node } = await open(file)
  await node.discard(0, MIB)
  const discarded = await headerOf(file)
  expect(discarded.dataWriteGuid).not.toBe(before.dataWriteGuid)
  expect(discarded.fileWriteGuid).not.toBe(before.fileWriteGuid)
  await node.write(0, filled(1, 512))
  await node.close()
  expect((await headerOf(file)).dataWriteGuid).toBe(discarded.dataWriteGuid)
})

/**
 * All states that a power cut may leave of the requests since the last flush: each write not at all, in full, or with any
 * set of its first sectors of 4 KiB; and torn within a sector of the log, the headers or the table.
 */
function* statesOf(
  pending: Entries,
): Iterable<readonly (readonly [entry: Entries[number], from: number, to: number])[]> {
  const choices = pending.map((entry): (readonly [number, number])[][] => {
    if (entry.kind !== 'write' || entry.offset >= DATA_AT) return [[], [[0, Number.POSITIVE_INFINITY]]]
    const pieces = Math.ceil(entry.bytes / 4096)
    const sets = Array.from({ length: 2 ** pieces }, (_, bits) =>
      Array.from({ length: pieces }, (_, i) => i)
        .filter((i) => bits & (1 << i))
        .map((i) => [i * 4096, (i + 1) * 4096] as const),
    )
    return [...sets, [[0, 512]], [[0, 4096 - 512]], [[entry.bytes - 512, entry.bytes]]]
  })
  const counters = choices.map(() => 0)
  for (;;) {
    yield pending.flatMap((entry, i) =>
      choices[i]![counters[i]!]!.map(([from, to]) => [entry, from, to] as const),
    )
    let at = 0
    while (at < counters.length && ++counters[at]! === choices[at]!.length) counters[at++] = 0
    if (at === counters.length) return
  }
}

function put(disk: CrashDisk, entry: Entries[number], from: number, to: number): void {
  if (entry.bytes > from || entry.kind !== 'write') disk.apply(entry, [[from, Math.min(to, entry.bytes)]])
}

it('every state that a power cut may leave of three flushes and a close shows the old or the new content', async () => {
  const base = new CrashDisk()
  await formatImage(anyVhdx, base.node(), { size: 4 * MIB, block_size: MIB })
  // Room for two entries: the third flush empties the log first.
  const { node, log } = await open(base.fork().node(), {}, 2 * 8192)
  const durable: number[] = []
  for (let block = 0; block < 3; block++) {
    await node.write(block * MIB, filled(block + 1, 512))
    await node.flush()
    durable[block] = log.entries.length
  }
  await node.close()
  let states = 0
  let pending: Entries = []
  for (const [index, entry] of log.entries.entries()) {
    if (entry.kind !== 'flush') {
      pending = [...pending, entry]
      continue
    }
    for (const state of statesOf(pending)) {
      const disk = base.fork()
      for (const [write, from, to] of state) put(disk, write, from, to)
      states++
      for (const readOnly of [true, false]) {
        const { node: crashed } = await open(disk.node(), { readOnly })
        expect(await crashed.check()).toMatchObject({ corruptions: 0, checkErrors: 0 })
        for (let block = 0; block < 3; block++) {
          const [value] = await bytesAt(crashed, block * MIB, 1)
          const allowed = durable[block]! <= index ? [block + 1] : [0, block + 1]
          expect(allowed, `block ${block} at request ${index}`).toContain(value)
        }
        await crashed.close()
      }
      expect(await hasLog(disk.node())).toBe(false)
    }
    for (const each of pending) put(base, each, 0, Number.POSITIVE_INFINITY)
    pending = []
  }
  expect(states).toBeGreaterThan(60)
})

describe('a failure', () => {
  /** Opens the image over a disk on which writes to a sector fail, once or for good. */
  async function openFailing(file: BlockNode, sector: number, once: boolean): Promise<BlockNode> {
    const environment = { registry: new DriverRegistry([memory, blkdebug, vhdx]), host: denyHost }
    return openNode(environment, {
      driver: 'vhdx',
      file: {
        driver: 'blkdebug',
        image: file,
        injectError: [{ event: 'none', iotype: 'write', errno: 5, sector, once }],
      },
    })
  }

  it.each([
    ['the first header', 64 * 1024],
    ['the second header', 128 * 1024],
    ['the log', LOG_AT],
    ['the table', BAT_AT],
  ])('of a write to %s loses nothing once it is over', async (_, offset) => {
    const file = await createImage()
    const node = await openFailing(file, offset / 512, true)
    let failures = 0
    const tried = async (step: () => Promise<void>): Promise<void> => {
      await step().catch(async () => {
        failures++
        await step()
      })
    }
    for (let block = 0; block < 3; block++) {
      await tried(() => node.write(block * MIB, filled(block + 1, 512)))
      await tried(() => node.flush())
    }
    // A check empties the log.
    await tried(async () => void (await node.check()))
    await tried(() => node.flush())
    await node.close()
    expect(failures).toBe(1)
    const { node: again } = await open(file, { readOnly: true })
    expect(await again.check()).toMatchObject({ corruptions: 0 })
    for (let block = 0; block < 3; block++) expect((await bytesAt(again, block * MIB, 1))[0]).toBe(block + 1)
    await again.close()
    expect(await hasLog(file)).toBe(false)
  })

  it('while the log is emptied leaves it to be replayed', async () => {
    const file = await createImage()
    const node = await openFailing(file, BAT_AT / 512, false)
    await node.write(0, filled(1, 512))
    await node.flush()
    await expect(node.close()).rejects.toThrow()
    expect(await hasLog(file)).toBe(true)
    const { node: again } = await open(file)
    expect((await bytesAt(again, 0, 1))[0]).toBe(1)
    await again.close()
  })
})
