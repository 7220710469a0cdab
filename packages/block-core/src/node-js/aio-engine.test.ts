/** Linux AIO on a fake kernel: the requests it takes and refuses, and those left to threads. */
import { closeSync, openSync, readFileSync, readSync, writeSync } from 'node:fs'
import { afterAll, beforeEach, describe, expect, it } from 'vitest'
import { AioQueue } from './aio-queue.ts'
import { AioTransfers } from './aio-transfers.ts'
import { allocateAligned } from './aligned-buffers.ts'
import { DirectEngine } from './direct-engine.ts'
import type { HostAio } from './host-calls.ts'
import { ThreadEngine } from './io-engine.ts'
import { ScratchFiles } from './scratch-files.ts'

const scratch = new ScratchFiles()
afterAll(() => scratch.remove())

/** Milliseconds. */
let time = 0
beforeEach(() => {
  time = 0
})

interface Job {
  readonly operation: 'read' | 'write'
  readonly fd: number
  readonly memory: Uint8Array
  readonly offset: number
}

/** A fake kernel that carries out requests on demand, or at once. */
class Kernel implements HostAio {
  /** Number of requests in each call. */
  readonly calls: number[] = []
  /** Number of waits for completions. */
  waits = 0
  /** The most requests taken in one call, and held at once. */
  most = Infinity
  room = Infinity
  /** The most bytes that one request moves. */
  longest = Infinity
  /** Milliseconds for which submitting each request blocks the caller. */
  keeps = 0
  isHeld = false
  refuse: ((job: Job) => string | undefined) | undefined
  result: ((job: Job) => number | undefined) | undefined
  readonly #sent: [slot: number, job: Job][] = []
  #woken: (() => void) | undefined

  open(): ReturnType<HostAio['open']> {
    const jobs = new Map<number, Job>()
    return {
      prepare: (slot, operation, fd, memory, offset) => jobs.set(slot, { operation, fd, memory, offset }),
      submit: (slots) => {
        time += this.keeps * slots.length
        const code = this.#sent.length >= this.room ? 'EAGAIN' : this.refuse?.(jobs.get(slots[0]!)!)
        if (code) throw Object.assign(new Error(code), { code })
        let taken = Math.min(slots.length, this.most, this.room - this.#sent.length)
        const refused = slots.findIndex((slot) => this.refuse?.(jobs.get(slot)!))
        if (refused > 0) taken = Math.min(taken, refused)
        for (const slot of slots.slice(0, taken)) this.#sent.push([slot, jobs.get(slot)!])
        this.calls.push(taken)
        return taken
      },
      wait: (woken) => {
        this.waits++
        this.#woken = woken
        if (!this.isHeld) setImmediate(() => this.release())
      },
      reap: (ended) => {
        for (const [slot, job] of this.#sent.splice(0)) ended(slot, this.result?.(job) ?? this.#carryOut(job))
      },
      close: () => Promise.resolve(),
      errorOf: (result) =>
        Object.assign(new Error(`errno ${-result}`), { code: result === -5 ? 'EIO' : 'ENOSPC' }),
    }
  }

  release(): void {
    const woken = this.#woken
    this.#woken = undefined
    woken?.()
  }

  #carryOut({ operation, fd, memory, offset }: Job): number {
    const bytes = Math.min(memory.length, this.longest)
    return operation === 'read'
      ? readSync(fd, memory, 0, bytes, offset)
      : writeSync(fd, memory, 0, bytes, offset)
  }
}

const BLOCK = 4096
const content = (): Uint8Array => new Uint8Array(64 * BLOCK).map((_, index) => (index >> 12) + 1)

function engineOn(kernel: Kernel, slots = 128): { engine: DirectEngine; fd: number; path: string } {
  const path = scratch.newFile(content())
  const queue = new AioQueue(kernel, { slots, now: () => time })
  return { engine: new DirectEngine(BLOCK, { queue }), fd: openSync(path, 'r+'), path }
}

/** Reads blocks concurrently. @returns the first byte of each, or the error code */
function readBlocks(
  engine: DirectEngine,
  fd: number,
  blocks: readonly number[],
  bytes = BLOCK,
): Promise<unknown[]> {
  return Promise.all(
    blocks.map(async (block) => {
      const into = allocateAligned(bytes)
      try {
        await engine.pread(fd, into, block * BLOCK)
        return into[bytes - 1]
      } catch (error) {
        return (error as { code: string }).code
      }
    }),
  )
}

const upTo = (count: number): number[] => Array.from({ length: count }, (_, index) => index)
const numbered = (count: number): number[] => upTo(count).map((block) => block + 1)

describe('requests that come together', () => {
  it('go to the kernel in one call, but for the first, which finds no other', async () => {
    const kernel = new Kernel()
    const { engine, fd } = engineOn(kernel)
    expect(await readBlocks(engine, fd, upTo(10))).toEqual(numbered(10))
    expect(kernel.calls).toEqual([9])
    expect(await readBlocks(engine, fd, [5])).toEqual([6])
    expect(kernel.calls).toEqual([9])
    closeSync(fd)
  })

  it('keep no thread waiting while one look after the other finds some that have ended', async () => {
    const kernel = new Kernel()
    const { engine, fd } = engineOn(kernel)
    const chain = async (first: number): Promise<void> => {
      for (let round = 0; round < 10; round++) await readBlocks(engine, fd, [first])
    }
    await Promise.all(upTo(8).map(chain))
    // The last look finds nothing, and there is nothing left to wait for.
    expect(kernel.waits).toBe(1)
    closeSync(fd)
  })

  it('wait for a slot, and for room in the kernel', async () => {
    const kernel = new Kernel()
    const { engine, fd } = engineOn(kernel, 4)
    kernel.room = 3
    expect(await readBlocks(engine, fd, upTo(40))).toEqual(numbered(40))
    expect(Math.max(...kernel.calls)).toBe(3)
    expect(kernel.calls.reduce((all, count) => all + count)).toBe(39)
    kernel.most = 1
    expect(await readBlocks(engine, fd, upTo(40))).toEqual(numbered(40))
    closeSync(fd)
  })

  it('are repeated while they move less, up to the end of the file', async () => {
    const kernel = new Kernel()
    const { engine, fd, path } = engineOn(kernel)
    kernel.longest = BLOCK
    expect(await readBlocks(engine, fd, [0, 3, 10], 3 * BLOCK)).toEqual([3, 6, 13])
    expect(await readBlocks(engine, fd, [0, 62], 4 * BLOCK)).toEqual([4, 0])
    const memory = allocateAligned(3 * BLOCK)
    memory.fill(99)
    await Promise.all([engine.pwrite(fd, memory, 0), engine.pwrite(fd, memory, 8 * BLOCK)])
    expect([...new Set(readFileSync(path).subarray(8 * BLOCK, 12 * BLOCK))]).toEqual([99, 12])
    closeSync(fd)
  })

  it('may come from memory that is anywhere', async () => {
    const kernel = new Kernel()
    const { engine, fd } = engineOn(kernel)
    const into = upTo(5).map(() => new Uint8Array(BLOCK))
    await Promise.all(into.map((bytes, block) => engine.pread(fd, bytes, block * BLOCK)))
    expect(into.map((bytes) => bytes[7])).toEqual(numbered(5))
    expect(kernel.calls).toEqual([4])
    closeSync(fd)
  })
})

describe('what the kernel does not do', () => {
  it('is told by the name of the error, to the request that it concerns', async () => {
    const kernel = new Kernel()
    const { engine, fd } = engineOn(kernel)
    kernel.result = ({ offset }) => (offset === 2 * BLOCK ? -5 : undefined)
    expect(await readBlocks(engine, fd, upTo(4))).toEqual([1, 2, 'EIO', 4])
    kernel.result = ({ operation }) => (operation === 'write' ? 0 : undefined)
    const memory = allocateAligned(BLOCK)
    const writes = await Promise.allSettled([0, 1].map((block) => engine.pwrite(fd, memory, block * BLOCK)))
    expect(writes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected'])
    closeSync(fd)
  })

  it('is done by threads', async () => {
    const kernel = new Kernel()
    const { engine, fd } = engineOn(kernel)
    kernel.refuse = ({ offset }) => (offset % (2 * BLOCK) === 0 ? 'EINVAL' : undefined)
    expect(await readBlocks(engine, fd, upTo(12))).toEqual(numbered(12))
    kernel.refuse = undefined
    kernel.room = 0
    expect(await readBlocks(engine, fd, upTo(12))).toEqual(numbered(12))
    closeSync(fd)
  })

  it('at once is done by threads from then on, and tried again now and then', async () => {
    const kernel = new Kernel()
    const { engine, fd } = engineOn(kernel)
    kernel.keeps = 1
    for (let round = 0; round < 50; round++) await readBlocks(engine, fd, upTo(5))
    const slow = kernel.calls.length
    expect(slow).toBeLessThan(12)
    kernel.keeps = 0
    for (let round = 0; round < 500; round++) await readBlocks(engine, fd, upTo(5))
    expect(kernel.calls.length - slow).toBeGreaterThan(200)
    closeSync(fd)
  })
})

describe('the end', () => {
  it('comes when the kernel has given everything back, and nothing more is sent', async () => {
    const kernel = new Kernel()
    const { fd } = engineOn(kernel)
    kernel.isHeld = true
    const queue = new AioQueue(kernel, { slots: 2, now: () => time })
    const transfers = new AioTransfers(queue, new ThreadEngine())
    const pool = new ThreadEngine()
    const busy = new AioTransfers(queue, pool)
    // A concurrent call, so that the first read does not go to a thread.
    let leave!: () => void
    const company = pool.call(0, () => new Promise<void>((resolve) => (leave = resolve)))
    const reads = upTo(5).map((block) =>
      busy.readUntilEnd(fd, allocateAligned(BLOCK), block * BLOCK, () => false),
    )
    const outcomes = Promise.allSettled(reads)
    await Promise.resolve()
    expect(kernel.calls).toEqual([2])
    let isOver = false
    const end = busy.stop().then(() => (isOver = true))
    leave()
    await company
    expect(isOver).toBe(false)
    kernel.isHeld = false
    kernel.release()
    await end
    expect((await outcomes).map(({ status }) => status)).toEqual([
      'fulfilled',
      'fulfilled',
      'rejected',
      'rejected',
      'rejected',
    ])
    await expect(reads[2]).rejects.toMatchObject({ code: 'ECANCELED' })
    await expect(busy.pwrite(fd, allocateAligned(BLOCK), 0)).rejects.toMatchObject({ code: 'ECANCELED' })
    expect(kernel.calls).toEqual([2])
    await transfers.stop()
    closeSync(fd)
  })
})
