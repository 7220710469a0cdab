/**
 * Requests that meet at one cluster, in chosen orders: no cluster gets two owners, freed clusters are reused,
 * but not too early, and a completed write stays visible. (All orders: histories.test.ts.)
 */
import { type BlockNode, openNode } from '@vmblock/block-core'
import { type BlockChild, breakpointsOf, defineDriver, forwardOps, opsOf } from '@vmblock/block-core/driver'
import { openTestNode } from '@vmblock/block-core/testing'
import { describe, expect, test } from 'vitest'
import {
  bytesAt,
  createImage,
  emptyDisk,
  environment,
  filled,
  findings,
  open,
  openLogged,
  pattern,
  SOUND,
} from '../testing/images.ts'

describe('zeroing a part of a cluster', () => {
  test('spares what is written beside it at the same time', async () => {
    for (const compat of ['0.10', '1.1']) {
      const file = await createImage({ size: 2 ** 18, compat })
      const node = await open(file)
      await Promise.all([node.write(0, filled(7, 512)), node.writeZeroes(512, 65536 - 512)])
      expect(await bytesAt(node, 0, 513)).toEqual(Uint8Array.of(...filled(7, 512), 0))
      await Promise.all([node.writeZeroes(65536, 1000), node.write(65536 + 1000, filled(8, 100))])
      expect((await bytesAt(node, 65536 + 1000, 1))[0]).toBe(8)
      await node.close()
    }
  })
})

describe('a freed cluster', () => {
  /** Host offset of the first guest cluster. */
  const hostOf = async (node: BlockNode, offset: number): Promise<number | undefined> =>
    (await node.blockStatus(offset, 512)).host?.offset

  test('is given to another write after a flush, not before', async () => {
    const node = await open(await createImage({ size: 2 ** 20 }))
    await node.write(0, pattern(65536))
    const host = await hostOf(node, 0)
    await node.discard(0, 65536)
    await node.write(65536, pattern(65536))
    expect(await hostOf(node, 65536)).not.toBe(host)
    await node.flush()
    await node.write(2 * 65536, pattern(65536))
    expect(await hostOf(node, 2 * 65536)).toBe(host)
    await node.close()
  })

  test('waits for the requests that may still be on their way to it', async () => {
    const file = await createImage({ size: 2 ** 20 })
    const debug = await openNode(environment, { driver: 'blkdebug', image: file })
    const node = await open(debug)
    await node.write(0, filled(1, 65536))
    await node.flush()
    const host = await hostOf(node, 0)
    const breakpoints = breakpointsOf(debug)
    breakpoints!.set('read_aio', 'slow')
    const slow = bytesAt(node, 0, 512)
    await breakpoints!.wait('slow')
    await node.discard(0, 65536)
    await node.flush()
    await node.write(65536, filled(2, 65536))
    expect(await hostOf(node, 65536)).not.toBe(host)
    breakpoints!.resume('slow')
    expect(await slow).toEqual(filled(1, 512))
    await node.flush()
    await node.write(2 * 65536, filled(3, 65536))
    expect(await hostOf(node, 2 * 65536)).toBe(host)
    await node.close()
    await debug.close()
    expect(await findings(file)).toMatchObject(SOUND)
  })

  test('is discarded in the file where that was asked for', async () => {
    for (const [options, discards] of [
      [{}, 1],
      [{ 'pass-discard-request': false }, 0],
      [{ discard: 'ignore' }, 0],
    ] as const) {
      const { node, log } = await openLogged(await createImage({ size: 2 ** 20 }), options)
      await node.write(0, pattern(65536))
      await node.flush()
      await node.discard(0, 65536)
      await node.flush()
      expect(log.count().discards, JSON.stringify(options)).toBe(discards)
      await node.close()
    }
  })

  test('that the end of the file was cut off with reads as zeroes when it comes back', async () => {
    const file = await createImage({ size: 2 ** 20 })
    const ops = opsOf(file)
    const { truncate } = ops
    let refuses = true
    // A file that claims to have been cut off, but was not.
    Object.defineProperty(ops, 'truncate', {
      value: async (size: number, options: object) => {
        if (!refuses) await truncate!.call(ops, size, options)
      },
    })
    const node = await open(file)
    await node.write(0, filled(9, 2 ** 20))
    await node.truncate(65536)
    await node.truncate(2 ** 20)
    await node.write(2 ** 19 + 1000, filled(1, 10))
    expect(await bytesAt(node, 2 ** 19, 1000)).toEqual(new Uint8Array(1000))
    expect(await bytesAt(node, 2 ** 19 + 1010, 1000)).toEqual(new Uint8Array(1000))
    refuses = false
    await node.close()
  })
})

/** A node over `file` whose requests can be held: writes after they are done, others before. */
async function holding(file: BlockNode): Promise<{
  readonly node: BlockNode
  /**
   * Holds the next request of a kind.
   *
   * @returns resolves, when the request comes, with a function that releases it
   */
  hold(kind: 'read' | 'write' | 'writeZeroes' | 'discard'): Promise<() => void>
}> {
  const waiting = new Map<string, (release: () => void) => void>()
  const held = async (kind: string, run: () => Promise<void>): Promise<void> => {
    const meet = waiting.get(kind)
    waiting.delete(kind)
    const isFirst = kind === 'read' || kind === 'discard'
    if (!isFirst) await run()
    if (meet) await new Promise<void>((release) => meet(release))
    if (isFirst) await run()
  }
  const driver = defineDriver({
    name: 'holding',
    kind: 'filter',
    async open(context) {
      const plain = forwardOps(await context.requireChild('file'))
      return {
        ...plain,
        read: (offset, into) => held('read', () => plain.read(offset, into)),
        write: (offset, from, flags) => held('write', () => plain.write!(offset, from, flags)),
        writeZeroes: (offset, bytes, flags) =>
          held('writeZeroes', () => plain.writeZeroes!(offset, bytes, flags)),
        discard: (offset, bytes) => held('discard', () => plain.discard!(offset, bytes)),
      }
    },
  })
  const node = await openTestNode(driver, { children: { file } })
  return { node, hold: (kind) => new Promise((resolve) => waiting.set(kind, resolve)) }
}

const turns = async (): Promise<void> => {
  for (let i = 0; i < 200; i++) await Promise.resolve()
}

describe('a guest cluster that keeps its host cluster while it is zeroed', () => {
  const prepared = async () => {
    const { node: file, hold } = await holding(await createImage({ size: 2 ** 20 }))
    const node = await open(file)
    await node.write(0, filled(1, 65536))
    return { node, hold }
  }

  test('shows no reader what a write has put there that others do not see yet', async () => {
    const { node, hold } = await prepared()
    const reading = hold('read')
    const slow = bytesAt(node, 0, 512)
    const letRead = await reading
    await node.writeZeroes(0, 65536)
    const writing = hold('write')
    const write = node.write(0, filled(2, 65536))
    const letWrite = await writing
    expect(await bytesAt(node, 0, 512)).toEqual(filled(0, 512))
    letRead()
    expect(await slow).not.toEqual(filled(2, 512))
    letWrite()
    await write
    expect(await bytesAt(node, 0, 512)).toEqual(filled(2, 512))
    await node.close()
  })

  test('brings nothing back that was written and zeroed', async () => {
    const { node, hold } = await prepared()
    // A write that has found its cluster, and is delayed before it reaches the file.
    const file = node.file as BlockChild
    const write = file.write.bind(file)
    let letGo!: () => void
    const gate = new Promise<void>((resolve) => (letGo = resolve))
    file.write = async (...args) => {
      await gate
      await write(...args)
    }
    const late = node.write(512, filled(3, 512))
    await turns()
    file.write = write
    await node.writeZeroes(0, 65536)
    // The rest of the cluster is filled with zeroes; then the delayed write reaches the file.
    const filling = hold('write')
    const part = node.write(0, filled(2, 512))
    const letFill = await filling
    letGo()
    let isOver = false
    void late.then(() => (isOver = true))
    await turns()
    expect(await bytesAt(node, 512, 512)).toEqual(filled(0, 512))
    expect(isOver, 'as it is to be seen later').toBe(false)
    letFill()
    await Promise.all([late, part])
    expect(await bytesAt(node, 0, 1024)).toEqual(Uint8Array.of(...filled(2, 512), ...filled(3, 512)))
    await node.close()
  })
})

describe.each([false, true])('an external data file, raw: %s', (raw) => {
  const prepared = async () => {
    const { node: data, hold } = await holding(await emptyDisk())
    const file = await createImage({ size: 2 ** 20, data_file: 'x', data_file_raw: raw }, data)
    const node = await open(file, { 'data-file': data })
    await node.write(0, filled(1, 65536))
    return { node, hold }
  }

  test('keeps what is written while a discard goes on', async () => {
    for (const step of raw ? (['writeZeroes', 'discard'] as const) : (['discard'] as const)) {
      const { node, hold } = await prepared()
      const discarding = hold(step)
      const discard = node.discard(0, 65536)
      const letGo = await discarding
      expect(await bytesAt(node, 0, 512)).toEqual(filled(0, 512))
      const write = node.write(0, filled(2, 512))
      await turns()
      letGo()
      await Promise.all([discard, write])
      expect(await bytesAt(node, 0, 512), step).toEqual(filled(2, 512))
      await node.close()
    }
  })

  test('keeps what is written while zeroes are', async ({ skip }) => {
    if (!raw) skip('zero flags are enough')
    const { node, hold } = await prepared()
    const zeroing = hold('writeZeroes')
    const zero = node.writeZeroes(0, 65536)
    const letGo = await zeroing
    const write = node.write(512, filled(2, 512))
    await turns()
    letGo()
    await Promise.all([zero, write])
    expect(await bytesAt(node, 512, 512)).toEqual(filled(2, 512))
    await node.close()
  })
})
