import { describe, expect, it } from 'vitest'
import { BlockError } from '../base/errors.ts'
import { nextTurn } from '../base/event-loop.ts'
import { Mutex } from '../base/mutex.ts'
import { defineDriver } from '../contract/driver.ts'
import type { BlockNode } from '../contract/node.ts'
import type { NodeOps } from '../contract/node-ops.ts'
import { linkedNode } from '../graph/known-nodes.ts'
import { opsOf } from '../graph/node-internals.ts'
import { nodeOf, openTestNode, toBytes } from '../testing/nodes.ts'
import { createRandom } from '../testing/random.ts'
import { integer } from '../text/options.ts'
import { type AroundRequest, aroundRequests } from './around-requests.ts'
import { memory, openMemory } from './memory.ts'
import { forwardOps, passThrough } from './pass-through.ts'

/** Time that passes only when everything waits for it. */
class VirtualClock {
  now = 0
  #sleepers: { readonly until: number; readonly wake: () => void }[] = []

  sleep(time: number): Promise<void> {
    return new Promise((wake) => this.#sleepers.push({ until: this.now + time, wake }))
  }
  async run(work: Promise<unknown>): Promise<void> {
    let isDone = false
    const done = work.finally(() => (isDone = true))
    while (!isDone) {
      // All that does not sleep ends before the time advances.
      await nextTurn()
      const next = this.#sleepers.sort((a, b) => a.until - b.until).shift()
      if (!next) continue
      this.now = Math.max(this.now, next.until)
      next.wake()
    }
    await done
  }
}

const clock = new VirtualClock()

/** All that a filter which limits bytes per tick has to be. */
const slow = defineDriver({
  name: 'slow',
  kind: 'filter',
  options: { bytes: integer('bytes per tick', 1) },
  async open(context) {
    const turn = new Mutex()
    return aroundRequests(forwardOps(await context.requireChild('file')), async ({ bytes }, run) => {
      await turn.run(() => clock.sleep(bytes / context.options.bytes))
      return run()
    })
  },
})

/** A filter around whose requests `around` runs. */
const over = (file: BlockNode, around: AroundRequest) => {
  const driver = defineDriver({
    name: 'around',
    kind: 'filter',
    open: async (context) => aroundRequests(forwardOps(await context.requireChild('file')), around),
  })
  return openTestNode(driver, { children: { file } })
}

const REQUESTS = [
  'read',
  'write',
  'writeCompressed',
  'writeZeroes',
  'discard',
  'blockStatus',
  'truncate',
  'flush',
] as const

/** A disk that can do everything, and notes what it did. */
function ableDisk() {
  const done: string[] = []
  const did = (name: string) => async (): Promise<void> => void done.push(name)
  const ops: NodeOps = {
    size: () => 8192,
    read: did('read'),
    write: did('write'),
    writeCompressed: did('writeCompressed'),
    writeZeroes: did('writeZeroes'),
    discard: did('discard'),
    truncate: did('truncate'),
    flush: did('flush'),
    async blockStatus(_, bytes) {
      done.push('blockStatus')
      return { bytes, allocated: true, data: true, zero: false }
    },
  }
  return { node: nodeOf(ops), done }
}

const requestAll = async (node: BlockNode): Promise<void> => {
  await node.read(512, new Uint8Array(1024))
  await node.write(512, new Uint8Array(1024))
  await node.writeCompressed(512, new Uint8Array(1024))
  await node.writeZeroes(512, 1024)
  await node.discard(512, 1024)
  await node.blockStatus(512, 1024)
  await node.truncate(4096)
  await node.flush()
}

describe('a filter around requests', () => {
  it('gets every kind once, and hands it on', async () => {
    const { node: file, done } = ableDisk()
    const seen: unknown[] = []
    const node = await over(file, (request, run) => {
      seen.push([request.kind, request.offset, request.bytes])
      return run()
    })
    await requestAll(node)
    const withoutRange = ['truncate', 'flush']
    expect(seen).toEqual(
      REQUESTS.map((kind) => (withoutRange.includes(kind) ? [kind, 0, 0] : [kind, 512, 1024])),
    )
    expect(done).toEqual(REQUESTS)
  })

  it('can refuse each', async () => {
    const { node: file, done } = ableDisk()
    const node = await over(file, ({ kind }) => Promise.reject(new BlockError('EACCES', `no ${kind}`)))
    for (const kind of REQUESTS) {
      const run = {
        read: () => node.read(0, new Uint8Array(512)),
        write: () => node.write(0, new Uint8Array(512)),
        writeCompressed: () => node.writeCompressed(0, new Uint8Array(512)),
        writeZeroes: () => node.writeZeroes(0, 512),
        discard: () => node.discard(0, 512),
        blockStatus: () => node.blockStatus(0, 512),
        truncate: () => node.truncate(512),
        flush: () => node.flush(),
      }[kind]
      await expect(run(), kind).rejects.toThrow(`no ${kind}`)
    }
    expect(done).toEqual([])
  })

  it('sees the data, the flags and the new size', async () => {
    const { node: file } = ableDisk()
    const seen: unknown[] = []
    const node = await over(file, (request, run) => {
      seen.push(request)
      return run()
    })
    const data = Uint8Array.of(1, 2)
    await node.write(0, data)
    await node.writeZeroes(0, 2, { noFallback: true })
    await node.truncate(4096)
    expect(seen).toMatchObject([
      { kind: 'write', data, flags: {} },
      { kind: 'writeZeroes', flags: { noFallback: true } },
      { kind: 'truncate', size: 4096 },
    ])
  })

  it.each([1, 2, 3])('can slow a disk down without changing what it holds (seed %i)', async (seed) => {
    const random = createRandom(seed)
    const size = 2 ** 16
    const file = await openTestNode(memory, { options: { size } })
    const rate = random.int(100, 1000)
    const node = await openTestNode(slow, { children: { file }, options: { bytes: rate } })
    const expected = new Uint8Array(size)
    const began = clock.now
    let bytes = 0
    // Pieces that do not overlap, so that their order does not matter.
    const piece = 1024
    const writes = Array.from({ length: size / piece }, async (_, index) => {
      const length = random.int(1, piece + 1)
      bytes += length
      if (random.chance(0.2)) return node.writeZeroes(index * piece, length)
      const data = random.bytes(length)
      expected.set(data, index * piece)
      return node.write(index * piece, data)
    })
    await clock.run(Promise.all(writes))
    expect(clock.now - began).toBeCloseTo(bytes / rate)
    expect(Buffer.compare(await toBytes(file), expected)).toBe(0)
  })
})

describe('a filter whose child is exchanged', () => {
  const filtered = async (file: BlockNode) => {
    const around = await over(file, (_, run) => run())
    const top = await openTestNode(passThrough, { children: { file: around } })
    return { around, top }
  }
  const LEAST: NodeOps = { size: () => 4096, read: async () => {} }

  it('can what the new child can, at once, and so can the filters above it', async () => {
    const { node: able } = ableDisk()
    const least = nodeOf({ ...LEAST, limits: { requestAlignment: 512, maxTransfer: 1024 } })
    const { around, top } = await filtered(able)
    for (const node of [around, top])
      for (const ability of REQUESTS) expect(opsOf(node)[ability], ability).toBeDefined()
    linkedNode(around).file!.replace(linkedNode(least))
    for (const node of [around, top]) {
      expect(REQUESTS.filter((ability) => opsOf(node)[ability])).toEqual(['read', 'flush'])
      expect(node.limits).toMatchObject({ requestAlignment: 512, maxTransfer: 1024 })
      expect([node.size, node.growable]).toEqual([4096, false])
      await expect(node.write(0, new Uint8Array(512))).rejects.toMatchObject({ code: 'EPERM' })
    }
    linkedNode(around).file!.replace(linkedNode(openMemory(new Uint8Array(10))))
    for (const node of [around, top]) {
      expect([node.growable, node.limits.requestAlignment]).toEqual([true, 1])
      await node.write(node.size, Uint8Array.of(7))
    }
    expect(top.size).toBe(12)
  })

  it('sends its requests to the new child, and through the filter as before', async () => {
    const files = [1, 2].map((byte) => openMemory(new Uint8Array(4).fill(byte)))
    let requests = 0
    const node = await over(files[0]!, (_, run) => {
      requests++
      return run()
    })
    await node.write(0, Uint8Array.of(9))
    linkedNode(node).file!.replace(linkedNode(files[1]!))
    expect([...(await toBytes(node))]).toEqual([2, 2, 2, 2])
    await node.write(1, Uint8Array.of(9))
    expect([...(await toBytes(files[1]!))]).toEqual([2, 9, 2, 2])
    expect([...(await toBytes(files[0]!))]).toEqual([9, 1, 1, 1])
    expect(requests).toBe(3)
  })
})
