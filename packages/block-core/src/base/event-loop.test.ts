/** How long requests answered from memory block the event loop; each request advances the clock. */
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { defineDriver } from '../contract/driver.ts'
import { denyHost } from '../contract/image-resolver.ts'
import type { BlockNode } from '../contract/node.ts'
import type { NodeOps } from '../contract/node-ops.ts'
import { DriverRegistry } from '../contract/registry.ts'
import { memory } from '../drivers/memory.ts'
import { nullCo } from '../drivers/null-co.ts'
import { forwardOps } from '../drivers/pass-through.ts'
import { openNode } from '../open/open.ts'
import { LoopBudget, pause } from './event-loop.ts'

/** Milliseconds that each request of a story takes. A `|` in a story is a turn of the event loop. */
const COST = 0.5

/** Marks a part of a request that has begun. */
const PART = {}

function storyTeller() {
  let time = 0
  let story = ''
  const budget = new LoopBudget({
    now: () => time,
    turn: (resume) => {
      setImmediate(() => {
        story += '|'
        resume()
      })
    },
  })
  const disk = {}
  /** @param node the node of a new request; `PART`: a part of a request that has begun */
  const request = async (name: string, node: object | undefined = disk): Promise<void> => {
    if (budget.spend(1e9)) await budget.wait(node === PART ? undefined : node)
    time += COST
    story += name
  }
  return { budget, request, story: () => story, pass: (ms: number) => (time += ms) }
}

describe('LoopBudget', () => {
  it('lets the loop turn every 10 ms, and those that waited go on by the same rule', async () => {
    const { request, story } = storyTeller()
    await Promise.all(Array.from({ length: 500 }, () => request('.')))
    const runs = story().split('|')
    // 20 requests make 10 ms; one more may begin at their end, and its end is noticed one later.
    expect(Math.max(...runs.map((run) => run.length))).toBeLessThanOrEqual(22)
    expect(runs.length).toBeLessThanOrEqual(500 / 20 + 2)
    expect(story().replaceAll('|', '')).toHaveLength(500)
  })

  it('keeps the order of requests, and lets parts of begun ones go first', async () => {
    const { request, story } = storyTeller()
    const names = [...'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ']
    const all = names.map((name) => request(name))
    all.push(request('1', PART), request('2', PART))
    await Promise.all(all)
    const told = story().replaceAll('|', '')
    expect(told.replaceAll(/\d/g, '')).toBe(names.join(''))
    expect(told.indexOf('1')).toBeLessThan(told.indexOf('Z'))
    expect(told.indexOf('2')).toBe(told.indexOf('1') + 1)
  })

  it('does not let a storm on one node hold up the requests of another', async () => {
    const { request, story } = storyTeller()
    const other = {}
    const all = Array.from({ length: 500 }, () => request('.'))
    all.push(request('1', other), request('2', other))
    await Promise.all(all)
    const told = story().replaceAll('|', '')
    expect(told.indexOf('1')).toBeLessThan(60)
    expect(told.indexOf('2')).toBeLessThan(60)
  })

  it('lets requests that waited go on beside those that come after the turn', async () => {
    const { request, story } = storyTeller()
    const first = Array.from({ length: 60 }, () => request('a'))
    await first[30]
    const storm = async (): Promise<void> => {
      for (let i = 0; i < 500; i++) await request('b')
    }
    await Promise.all([...first, storm()])
    const told = story().replaceAll('|', '')
    // A request that comes need not wait, and takes no more than every second place from those that did.
    expect(told.indexOf('b')).toBeLessThan(told.lastIndexOf('a'))
    expect(told.lastIndexOf('a')).toBeLessThan(31 + 2 * 30)
  })

  it('holds up no request where the loop turns by itself', async () => {
    const { budget, request, story, pass } = storyTeller()
    for (let i = 0; i < 50; i++) {
      pass(1000)
      await request('.')
      expect(budget.isSpent).toBe(false)
      await new Promise((resolve) => setImmediate(resolve))
    }
    expect(story().replaceAll('|', '')).toHaveLength(50)
  })

  it('looks at the clock once for many small requests', () => {
    let looks = 0
    const budget = new LoopBudget({ now: () => looks++ * 1e-9, turn: () => {} })
    for (let i = 0; i < 6400; i++) expect(budget.spend(512)).toBe(false)
    expect(looks).toBeLessThanOrEqual(100)
  })
})

describe('a storm of requests', () => {
  /** In milliseconds; each look at the clock takes one. */
  let time = performance.now()
  beforeAll(() => void vi.spyOn(performance, 'now').mockImplementation(() => (time += 1)))
  afterAll(() => void vi.restoreAllMocks())

  /** A filter that passes every request to the node below. */
  const layer = defineDriver({
    name: 'layer',
    kind: 'filter',
    async open(context): Promise<NodeOps> {
      return forwardOps(await context.requireChild('file'))
    },
  })
  const environment = { registry: new DriverRegistry([memory, nullCo, layer]), host: denyHost }

  /** Most requests that end between two turns of the event loop if each look at the clock takes 1 ms. */
  async function longest(run: (node: BlockNode) => Promise<unknown>, options: object): Promise<number> {
    const node = await openNode(environment, { ...options })
    let ended = 0
    let worst = 0
    let going = true
    let before = 0
    const turn = (): void => {
      worst = Math.max(worst, ended - before)
      before = ended
      if (going) setImmediate(turn)
    }
    const count = async (): Promise<void> => {
      for (let i = 0; i < 100; i++) {
        await run(node)
        ended++
      }
    }
    setImmediate(turn)
    // In parallel, and one after the other.
    await Promise.all(Array.from({ length: 50 }, count))
    for (let i = 0; i < 50; i++) await count()
    turn()
    going = false
    await node.close()
    expect(ended).toBe(10_000)
    return worst
  }

  const into = new Uint8Array(4096)
  const zeroes = new Uint8Array(4096)
  const REQUESTS: readonly [string, (node: BlockNode) => Promise<unknown>][] = [
    ['reads', (node) => node.read(0, into)],
    ['writes', (node) => node.write(0, into)],
    ['writes of zeroes', (node) => node.write(0, zeroes)],
    ['zero writes', (node) => node.writeZeroes(0, 65536)],
    ['discards', (node) => node.discard(0, 65536)],
    ['statuses', (node) => node.blockStatus(0, 65536)],
    ['flushes', (node) => node.flush()],
    ['durable writes', (node) => node.write(0, into, { fua: true })],
  ]
  const NODES: readonly [string, object][] = [
    ['memory', { driver: 'memory', size: 2 ** 20, discard: 'unmap' }],
    [
      'memory that looks for zeroes',
      { driver: 'memory', size: 2 ** 20, discard: 'unmap', detectZeroes: 'unmap' },
    ],
    ['null-co', { driver: 'null-co', size: 2 ** 20 }],
    ['a filter', { driver: 'layer', file: { driver: 'memory', size: 2 ** 20 } }],
  ]
  it.each(NODES.flatMap(([on, options]) => REQUESTS.map(([what, run]) => ({ on, options, what, run }))))(
    'of $what on $on lets the loop turn',
    async ({ options, run }) => {
      // Ten looks at the clock and one more, with 64 requests between them, or with one each after waiting.
      expect(await longest(run, options)).toBeLessThanOrEqual(13 * 64)
    },
  )

  it('gives work without requests its turns, too', async () => {
    let turns = 0
    for (let i = 0; i < 6400; i++) {
      const turning = pause()
      if (turning) turns += await turning.then(() => 1)
    }
    expect(turns).toBeGreaterThanOrEqual(6400 / 64 / 13)
  })
})
