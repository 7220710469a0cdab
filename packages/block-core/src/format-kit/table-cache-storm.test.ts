/**
 * Storms on table caches that are much too small: concurrent loads, changes, drops, write-backs and failures,
 * on a disk that answers in any order. Lookups always return the last change, writes to the disk respect the
 * required order, and in the end the disk has everything.
 */
import { expect, test } from 'vitest'
import { BlockError } from '../base/errors.ts'
import { nextTurn } from '../base/event-loop.ts'
import { Mutex } from '../base/mutex.ts'
import type { BlockChild } from '../contract/node.ts'
import type { NodeOps } from '../contract/node-ops.ts'
import { edgeTo, nodeOf } from '../testing/nodes.ts'
import { createRandom, type Random } from '../testing/random.ts'
import { Shaker } from '../testing/shaker.ts'
import { TableCache } from './table-cache.ts'

const RUNS = Number(process.env['CONCURRENCY_RUNS'] ?? 8)
const SEED = Number(process.env['CONCURRENCY_SEED'] ?? 1)

const SLICE = 1024
/** Slices per cache; cells are 4 bytes, and hold the number of their last change. */
const SLICES = 12
const CELLS = SLICE / 4
const CACHES = 3

/** What must be durable before the next write of a cache. */
interface Duty {
  /** Cells of another cache, and the change that each must show, or a later one. */
  readonly cells: ReadonlyMap<number, number>
  /** Number of data writes. */
  readonly data: number
}

/** A disk that knows what is durable, and what must be before each write. */
class Disk {
  /** The change that each cell shows on the disk, and the oldest it may show after a power cut. */
  readonly cells = new Uint32Array(CACHES * SLICES * CELLS)
  readonly durable = new Uint32Array(CACHES * SLICES * CELLS)
  readonly duties: Duty[][] = Array.from({ length: CACHES }, () => [])
  dataWritten = 0
  dataDurable = 0
  readonly violations: string[] = []
  readonly #random: Random
  readonly #shaker: Shaker
  failing = 0

  constructor(random: Random, shaker: Shaker) {
    this.#random = random
    this.#shaker = shaker
  }

  /** Runs a request, sooner or later; it may fail, with or without effect. */
  async #request(run: () => void): Promise<void> {
    await this.#shaker.pause()
    const fails = this.#random.chance(this.failing)
    if (!fails || this.#random.chance(0.5)) run()
    await this.#shaker.pause()
    if (fails) throw new BlockError('EIO', 'injected')
  }

  ops(): NodeOps {
    return {
      size: () => this.cells.length * 4,
      read: (offset, into) =>
        this.#request(() => into.set(new Uint8Array(this.cells.buffer, offset, into.length))),
      write: (offset, from) => {
        this.#requireDuties(Math.floor(offset / (SLICES * SLICE)))
        return this.#request(() => new Uint8Array(this.cells.buffer).set(from, offset))
      },
      flush: async () => {
        const covered = this.cells.slice()
        await this.#request(() => this.durable.set(covered))
      },
    }
  }

  async flushData(): Promise<void> {
    const covered = this.dataWritten
    await this.#request(() => {
      this.dataDurable = Math.max(this.dataDurable, covered)
    })
  }

  #requireDuties(cache: number): void {
    for (const { cells, data } of this.duties[cache]!.splice(0)) {
      for (const [cell, change] of cells)
        if (this.durable[cell]! < change)
          this.violations.push(`cache ${cache} is written before change ${change} of cell ${cell} is durable`)
      if (this.dataDurable < data) this.violations.push(`cache ${cache} is written before its data`)
    }
  }
}

class Storm {
  readonly disk: Disk
  readonly #random: Random
  readonly #shaker: Shaker
  readonly #lock = new Mutex()
  readonly #caches: TableCache[]
  readonly #file: BlockChild
  /** The expected value of each cell. */
  readonly #model = new Uint32Array(CACHES * SLICES * CELLS)
  #changes = 0
  lookups = 0
  refusals = 0

  constructor(seed: number) {
    this.#random = createRandom(seed)
    this.#shaker = new Shaker(this.#random)
    this.disk = new Disk(this.#random, this.#shaker)
    this.#file = edgeTo(nodeOf(this.disk.ops()))
    this.#caches = Array.from(
      { length: CACHES },
      () =>
        new TableCache({
          file: this.#file,
          sliceSize: SLICE,
          capacity: this.#random.int(2, 5),
          events: { load: 'l2_load', update: 'l2_update' },
          flushData: () => this.disk.flushData(),
        }),
    )
  }

  /** Runs lanes of lookups, without the lock, and of changes, under it. */
  async run(steps: number): Promise<void> {
    this.disk.failing = this.#random.pick([0, 0.02, 0.1])
    let left = steps
    const lane = async (body: () => Promise<void>): Promise<void> => {
      while (left-- > 0) {
        await this.#shaker.pause()
        await body().catch((error: unknown) => {
          if (!(error instanceof BlockError)) throw error
          this.refusals++
        })
      }
    }
    const lanes = [1, 2, 3, 4].map(() => lane(() => this.#lookUp()))
    for (let i = 0; i < 2; i++) lanes.push(lane(() => this.#lock.run(() => this.#change())))
    await this.#driven(Promise.all(lanes))
    this.disk.failing = 0
    this.#shaker.calm()
    for (const cache of this.#caches) await cache.writeBack()
    expect(this.#caches.some((cache) => cache.isDirty)).toBe(false)
    expect(this.disk.cells.findIndex((value, cell) => value !== this.#model[cell])).toBe(-1)
    expect(this.disk.violations).toEqual([])
  }

  async #driven(promise: Promise<unknown>): Promise<void> {
    let isOver = false
    const end = (): void => {
      isOver = true
    }
    promise.then(end, end)
    for (let idle = 0; !isOver; idle = this.#shaker.release() ? 0 : idle + 1) {
      if (idle > 10_000) throw new Error('every request waits for another')
      await nextTurn()
    }
    await promise
  }

  #pick(): { cache: number; slice: number; cell: number } {
    const cache = this.#random.int(0, CACHES)
    // Half of the operations use a few slices.
    const slice = this.#random.chance(0.5) ? this.#random.int(0, 3) : this.#random.int(0, SLICES)
    return { cache, slice, cell: this.#random.int(0, CELLS) }
  }

  #offset({ cache, slice }: { cache: number; slice: number }): number {
    return (cache * SLICES + slice) * SLICE
  }

  async #lookUp(): Promise<void> {
    const target = this.#pick()
    const cache = this.#caches[target.cache]!
    const offset = this.#offset(target)
    for (;;) {
      const table = cache.peek(offset)
      if (table) {
        this.lookups++
        const value = table.view.getUint32(target.cell * 4, true)
        const cell = offset / 4 + target.cell
        if (value !== this.#model[cell])
          throw new Error(`cell ${cell} shows ${value}, not ${this.#model[cell]}`)
        return
      }
      await cache.load(offset)
    }
  }

  /** Runs a random change; to be called under the lock. */
  async #change(): Promise<void> {
    const random = this.#random
    const target = this.#pick()
    const cache = this.#caches[target.cache]!
    const dice = random.int(0, 100)
    if (dice < 50) {
      await this.#set(target)
      if (cache.isCrowded) await cache.writeBack()
    } else if (dice < 62) await cache.writeBack()
    else if (dice < 76) await this.#follow(target.cache, random.int(0, CACHES))
    else if (dice < 82) {
      this.disk.dataWritten++
      cache.followData()
      this.disk.duties[target.cache]!.push({ cells: new Map(), data: this.disk.dataWritten })
    } else if (dice < 88) await this.#recreate(target)
    else if (dice < 94) cache.dropUnused()
    else if (dice < 97) this.#drop(this.#offset(target), SLICE, target.cache)
    else await this.#file.flush()
  }

  async #set(target: { cache: number; slice: number; cell: number }): Promise<void> {
    const cache = this.#caches[target.cache]!
    const offset = this.#offset(target)
    let table = cache.peek(offset)
    while (!table) {
      await cache.load(offset)
      table = cache.peek(offset)
    }
    const change = ++this.#changes
    table.view.setUint32(target.cell * 4, change, true)
    cache.changed(table, target.cell * 4, target.cell * 4 + 4)
    this.#model[offset / 4 + target.cell] = change
  }

  async #follow(which: number, first: number): Promise<void> {
    if (which === first) return
    // The changes that are dirty in the other cache now must come first.
    const cells = new Map<number, number>()
    for (let cell = first * SLICES * CELLS; cell < (first + 1) * SLICES * CELLS; cell++)
      if (this.disk.cells[cell] !== this.#model[cell]) cells.set(cell, this.#model[cell]!)
    await this.#caches[which]!.follow(this.#caches[first]!)
    this.disk.duties[which]!.push({ cells, data: 0 })
  }

  /** Drops slices, as if their clusters were freed: their changes are gone, and no write waits for them. */
  #drop(offset: number, bytes: number, cache: number): void {
    this.#caches[cache]!.drop(offset, bytes)
    this.#model.set(this.disk.cells.subarray(offset / 4, (offset + bytes) / 4), offset / 4)
    for (const duties of this.disk.duties)
      for (const [i, { cells, data }] of duties.entries())
        duties[i] = {
          data,
          cells: new Map([...cells].filter(([cell]) => cell * 4 < offset || cell * 4 >= offset + bytes)),
        }
  }

  /** Turns a cluster into another table: writes it without the cache, so that the next lookup loads it. */
  async #recreate(target: { cache: number; slice: number }): Promise<void> {
    const offset = this.#offset(target)
    const isZero = this.#random.chance(0.5)
    this.#drop(offset, SLICE, target.cache)
    const content = new Uint32Array(CELLS).fill(isZero ? 0 : ++this.#changes)
    // Synchronously, because no request can reach a new table before it has been written.
    this.disk.cells.set(content, offset / 4)
    this.#model.set(content, offset / 4)
    if (isZero) this.#caches[target.cache]!.createZeroed(offset)
  }
}

test('storms', async () => {
  let [lookups, refusals] = [0, 0]
  for (let seed = SEED; seed < SEED + RUNS; seed++) {
    const storm = new Storm(seed)
    await storm.run(1500).catch((error: unknown) => {
      throw new Error(`seed ${seed}: ${(error as Error).message}`, { cause: error })
    })
    lookups += storm.lookups
    refusals += storm.refusals
  }
  expect(lookups).toBeGreaterThan(RUNS * 500)
  if (RUNS >= 8) expect(refusals).toBeGreaterThan(0)
  console.log(`counted ${RUNS} histories: table cache`)
})
