import { describe, expect, it } from 'vitest'
import type { Clock } from '../base/clock.ts'
import { denyHost } from '../contract/image-resolver.ts'
import { DriverRegistry } from '../contract/registry.ts'
import { openNode } from '../open/open.ts'
import { reopenNode } from '../open/reopen.ts'
import { runModel } from '../testing/model.ts'
import { createRandom } from '../testing/random.ts'
import { memory } from './memory.ts'
import { createThrottle, throttleGroupsOf } from './throttle.ts'
import { ThrottleGroups } from './throttle-group.ts'
import { checkLimits, type ThrottleLimits } from './throttle-limits.ts'

/** A clock that a test turns. */
class TestClock implements Clock {
  #now = 0
  readonly #timers = new Set<{ readonly at: number; run(): void }>()

  now = (): number => this.#now

  after = (milliseconds: number, run: () => void): (() => void) => {
    const timer = { at: this.#now + milliseconds, run }
    this.#timers.add(timer)
    return () => this.#timers.delete(timer)
  }

  get timers(): number {
    return this.#timers.size
  }

  /** Turns to a time; timers run in their order, and what they wake runs on. */
  async turnTo(milliseconds: number): Promise<void> {
    await settled()
    for (;;) {
      const [next] = [...this.#timers].sort((a, b) => a.at - b.at)
      if (!next || next.at > milliseconds) break
      this.#timers.delete(next)
      this.#now = Math.max(this.#now, next.at)
      next.run()
      await settled()
    }
    this.#now = milliseconds
    await settled()
  }
}

/** Lets all that has nothing to wait for run on. */
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(() => setImmediate(resolve)))

const SIZE = 2 ** 20

function bench(limits: ThrottleLimits = {}) {
  const clock = new TestClock()
  const groups = new ThrottleGroups(clock)
  const group = groups.define('g', limits)
  const registry = new DriverRegistry([memory, createThrottle(groups)])
  const environment = { registry, host: denyHost }
  const open = (options: object = {}) =>
    openNode(environment, {
      driver: 'throttle',
      throttleGroup: 'g',
      discard: 'unmap',
      file: { driver: 'memory', size: SIZE },
      ...options,
    } as never)
  return { clock, groups, group, open, registry }
}

/** Makes requests, and notes when each ends. */
function timed(clock: TestClock) {
  const ends: [name: string, at: number][] = []
  const note = (name: string, request: Promise<unknown>) =>
    void request.then(
      () => ends.push([name, Math.round(clock.now())]),
      () => ends.push([`${name} failed`, Math.round(clock.now())]),
    )
  return { ends, note }
}

describe('throttle', () => {
  it.each([1, 2])('is a disk like any other without limits, seed %i', async (seed) => {
    const { open, clock } = bench()
    await runModel({ seed, operations: 80, makeNode: () => open(), discard: 'zeroes' })
    expect(clock.timers).toBe(0)
  })

  it('lets a tenth of a second pass at once, and then as many requests as the limit says', async () => {
    const { open, clock } = bench({ iopsTotal: 10 })
    const node = await open()
    const { ends, note } = timed(clock)
    for (let i = 0; i < 6; i++) note(String(i), node.read(i, new Uint8Array(1)))
    await clock.turnTo(1000)
    // As measured of QEMU 7.2: two at once, then one every 100 ms.
    expect(ends.map(([, at]) => at)).toEqual([0, 0, 100, 200, 300, 400])
    expect(clock.timers).toBe(0)
  })

  it('counts bytes of reads and writes apart or together, and of zeroes and discards as writes', async () => {
    const { open, clock } = bench({ bpsWrite: 1000 })
    const node = await open()
    const { ends, note } = timed(clock)
    note('write', node.write(0, new Uint8Array(600)))
    await clock.turnTo(0)
    note('zero', node.writeZeroes(0, 1000))
    await clock.turnTo(0)
    note('discard', node.discard(0, 512))
    note('read', node.read(0, new Uint8Array(SIZE)))
    await clock.turnTo(5000)
    expect(ends).toEqual([
      ['write', 0],
      ['read', 0],
      ['zero', 500],
      ['discard', 1500],
    ])
    const both = bench({ bpsTotal: 1000 })
    const other = await both.open()
    const log = timed(both.clock)
    log.note('write', other.write(0, new Uint8Array(1100)))
    await both.clock.turnTo(0)
    log.note('read', other.read(0, new Uint8Array(1)))
    log.note('flush', other.flush())
    await both.clock.turnTo(5000)
    expect(log.ends).toEqual([
      ['write', 0],
      ['flush', 0],
      ['read', 1000],
    ])
  })

  it('counts a long request as several with iops-size', async () => {
    const { open, clock } = bench({ iopsTotal: 10, iopsSize: 100 })
    const node = await open()
    const { ends, note } = timed(clock)
    note('long', node.write(0, new Uint8Array(1000)))
    note('next', node.write(0, new Uint8Array(1)))
    await clock.turnTo(5000)
    expect(ends).toEqual([
      ['long', 0],
      ['next', 900],
    ])
  })

  it('allows bursts of their own rate, as long as they may last', async () => {
    const { open, clock } = bench({ iopsTotal: 10, iopsTotalMax: 100, iopsTotalMaxLength: 2 })
    const node = await open()
    const { ends, note } = timed(clock)
    for (let i = 0; i < 300; i++) note(String(i), node.read(0, new Uint8Array(1)))
    await clock.turnTo(1000)
    expect(ends.length).toBeGreaterThanOrEqual(105)
    expect(ends.length).toBeLessThanOrEqual(115)
    await clock.turnTo(3000)
    // 200 requests of the burst, and what leaked meanwhile: from then on ten a second.
    const before = ends.length
    expect(before).toBeGreaterThanOrEqual(220)
    expect(before).toBeLessThanOrEqual(240)
    await clock.turnTo(4000)
    expect(ends.length - before).toBe(10)
    await node.crash()
    await settled()
    expect([ends.length, clock.timers]).toEqual([300, 0])
  })

  it('serves the disks of a group in turns, however many requests each has', async () => {
    const { open, clock, group } = bench({ iopsTotal: 10 })
    const [a, b] = [await open(), await open()]
    expect(group.size).toBe(2)
    const { ends, note } = timed(clock)
    for (let i = 0; i < 6; i++) note('a', a.read(0, new Uint8Array(1)))
    for (let i = 0; i < 3; i++) note('b', b.read(0, new Uint8Array(1)))
    await clock.turnTo(2000)
    expect(ends.map(([name]) => name).join('')).toMatch(/^aa(ba|ab){3}a$/)
  })

  it.each([1, 2, 3])('never lets more pass than its limits, whatever is asked, seed %i', async (seed) => {
    const random = createRandom(seed)
    const limits = { bpsTotal: 5000, iopsRead: 20, iopsWrite: 7, iopsSize: random.int(100, 2000) }
    const { open, clock } = bench(limits)
    const nodes = [await open(), await open(), await open()]
    const { ends, note } = timed(clock)
    let [bytes, reads] = [0, 0]
    for (let i = 0; i < 60; i++) {
      const length = random.int(1, 1000)
      bytes += length
      const node = random.pick(nodes)
      if (random.chance(0.5)) {
        reads++
        note('read', node.read(0, new Uint8Array(length)))
      } else note('write', node.write(0, new Uint8Array(length)))
      if (random.chance(0.2)) await clock.turnTo(clock.now() + random.int(0, 300))
    }
    await clock.turnTo(1e6)
    expect([ends.length, clock.timers]).toEqual([60, 0])
    const last = ends.at(-1)![1] / 1000
    // What a bucket holds, and the last request of each direction, pass beyond the rate.
    expect(bytes).toBeLessThanOrEqual(5000 * (last + 0.1) + 2000)
    expect(reads).toBeLessThanOrEqual(20 * (last + 0.1) + 1)
  })

  it('lets requests that wait pass when their disk is closed, and fails them when it crashes', async () => {
    const { open, clock, group } = bench({ iopsTotal: 1 })
    const [a, b] = [await open(), await open()]
    const { ends, note } = timed(clock)
    for (let i = 0; i < 3; i++) note('a', a.read(0, new Uint8Array(1)))
    for (let i = 0; i < 3; i++) note('b', b.read(0, new Uint8Array(1)))
    await clock.turnTo(1)
    const before = ends.length
    await a.close()
    expect(ends.filter(([name]) => name === 'a')).toHaveLength(3)
    await b.crash()
    await settled()
    expect(ends.filter(([name]) => name === 'b failed').length).toBeGreaterThan(0)
    expect([before < 3, ends.length, clock.timers, group.size]).toEqual([true, 6, 0, 0])
  })

  it('moves to another group with a reopen', async () => {
    const { open, clock, groups, group } = bench({ iopsTotal: 1 })
    const fast = groups.define('fast', {})
    const node = await open()
    await expect(reopenNode(node, { options: { 'throttle-group': 'x' } })).rejects.toThrow(
      "Throttle group 'x' does not exist",
    )
    await reopenNode(node, { options: { throttleGroup: 'fast' } })
    expect([group.size, fast.size]).toEqual([0, 1])
    for (let i = 0; i < 10; i++) await node.read(0, new Uint8Array(1))
    expect(clock.timers).toBe(0)
    expect(() => groups.remove('fast')).toThrow("object 'fast' is in use, can not be deleted")
    await node.close()
    groups.remove('fast')
    expect(groups.find('fast')).toBeUndefined()
  })

  it('obeys new limits at once', async () => {
    const { open, clock, group } = bench({ bpsTotal: 1 })
    const node = await open()
    const { ends, note } = timed(clock)
    note('first', node.read(0, new Uint8Array(1000)))
    note('second', node.read(0, new Uint8Array(1000)))
    await clock.turnTo(10)
    group.limits = { bpsTotal: 1e6 }
    await clock.turnTo(20)
    expect(ends.map(([name]) => name)).toEqual(['first', 'second'])
    expect(() => {
      group.limits = { bpsTotal: 1, bpsRead: 1 }
    }).toThrow('cannot be used at the same time')
    expect(group.limits).toEqual({ bpsTotal: 1e6 })
  })

  const wrong: [ThrottleLimits, string][] = [
    [
      { iopsTotal: 1, iopsRead: 1 },
      'bps/iops/max total values and read/write values cannot be used at the same time',
    ],
    [{ bpsTotal: 1, bpsTotalMax: 2, bpsWriteMax: 1 }, 'cannot be used at the same time'],
    [{ iopsSize: 5, bpsTotal: 1 }, 'iops size requires an iops value to be set'],
    [{ bpsTotal: 2e15 }, 'bps/iops/max values must be within [0, 1000000000000000]'],
    [{ bpsTotal: 1, bpsTotalMaxLength: 0 }, 'the burst length cannot be 0'],
    [{ bpsTotal: 1, bpsTotalMaxLength: 2 }, 'burst length set without burst rate'],
    [{ bpsTotal: 1, bpsTotalMax: 9e11, bpsTotalMaxLength: 4e9 }, 'burst length too high for this burst rate'],
    [{ bpsTotalMax: 5 }, 'bps_max/iops_max require corresponding bps/iops values'],
    [{ bpsTotal: 6, bpsTotalMax: 5 }, 'bps_max/iops_max cannot be lower than bps/iops'],
    [{ bpsTotal: -1 }, "Parameter 'bpsTotal' expects a whole number from 0, not -1"],
    [{ bps: 1 } as never, "Parameter 'limits' has no option 'bps'"],
  ]
  it.each(wrong)('refuses the limits %j', (limits, message) => {
    expect(() => checkLimits(limits)).toThrow(message)
    expect(() => new ThrottleGroups().define('x', limits)).toThrow(message)
  })

  it('refuses groups that are not there, and names that are none', async () => {
    const { open, groups, registry } = bench()
    await expect(open({ throttleGroup: undefined })).rejects.toThrow('Please specify a throttle group')
    await expect(open({ throttleGroup: 'x' })).rejects.toThrow("Throttle group 'x' does not exist")
    await expect(open({ throttleGroup: 5 })).rejects.toThrow("Parameter 'throttleGroup' expects a string")
    await expect(open({ file: undefined })).rejects.toThrow('A block device must be specified for "file"')
    expect(() => groups.define('g', {})).toThrow('A group with this name already exists')
    expect(() => groups.define('1', {})).toThrow("Parameter 'name' expects an identifier")
    expect(() => groups.remove('x')).toThrow("Throttle group 'x' does not exist")
    expect(() => createThrottle({} as never)).toThrow("Parameter 'groups' expects ThrottleGroups")
    expect(() => new ThrottleGroups({} as never)).toThrow("Parameter 'clock' expects a clock")
    expect(throttleGroupsOf(registry.find('throttle'))).toBe(groups)
    expect(throttleGroupsOf(memory)).toBeUndefined()
  })
})
