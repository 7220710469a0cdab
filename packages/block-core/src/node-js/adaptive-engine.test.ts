/** The adaptive engine on a fake clock: which requests block the event loop, and for how long. */
import { closeSync, openSync } from 'node:fs'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { LoopBudget, type LoopClock } from '../base/event-loop.ts'
import { AdaptiveEngine, CacheMeter } from './adaptive-engine.ts'
import { ThreadEngine } from './io-engine.ts'
import { ScratchFiles } from './scratch-files.ts'

const scratch = new ScratchFiles()
let fd: number
beforeAll(() => {
  fd = openSync(scratch.newFile(new Uint8Array(4 * 2 ** 20)), 'r+')
})
afterAll(() => {
  closeSync(fd)
  scratch.remove()
})

/** Microseconds by which each query advances the clock: a request queries it before and after. */
let us = 0
let time = 0
let looks = 0
/** The sequence of events: `.` for a request on this thread, `|` for a turn of the event loop. */
let story = ''
beforeEach(() => {
  time = us = 0
  story = ''
})

const clock: LoopClock = {
  now() {
    looks++
    time += us / 1000
    return time
  },
  turn(resume) {
    setImmediate(() => {
      story += '|'
      resume()
    })
  },
}

const slices = (): LoopBudget => new LoopBudget(clock)

/** A budget that never queries the clock, so that only requests do. */
class Unlimited extends LoopBudget {
  override ended(): void {}
}

/** Makes `count` reads, `atOnce` of them concurrently. */
async function read(
  engine: AdaptiveEngine | ThreadEngine,
  count: number,
  atOnce = 1,
  bytes = 4096,
): Promise<void> {
  let left = count
  const reader = async (): Promise<void> => {
    const into = new Uint8Array(bytes)
    while (left-- > 0) {
      await engine.pread(fd, into, 0)
      story += '.'
    }
  }
  await Promise.all(Array.from({ length: atOnce }, reader))
}

const longest = (): number => Math.max(...story.split('|').map((run) => run.length))

describe('CacheMeter', () => {
  const times = (meter: CacheMeter, count: number, us: number): void => {
    for (let index = 0; index < count; index++) meter.took(us, 4096)
  }

  it('stays on this thread while the page cache answers, whatever a single request took', () => {
    const meter = new CacheMeter()
    times(meter, 100, 5)
    meter.took(1_000_000, 4096)
    expect(meter.tryNow()).toBe(true)
  })

  it('leaves for the pool when requests are slow, and tries again ever more seldom', () => {
    const meter = new CacheMeter()
    times(meter, 4, 5000)
    const waits: number[] = []
    for (let probe = 0; probe < 3; probe++) {
      let waited = 0
      while (!meter.tryNow()) waited++
      waits.push(waited)
      meter.took(5000, 4096)
    }
    expect(waits[0]).toBeGreaterThanOrEqual(16)
    expect(waits[1]).toBeGreaterThan(waits[0]!)
    expect(waits[2]).toBeGreaterThan(waits[1]!)
  })

  it('comes back when the page cache answers again', () => {
    const meter = new CacheMeter()
    times(meter, 20, 5000)
    expect(meter.tryNow()).toBe(false)
    times(meter, 20, 5)
    expect(meter.tryNow()).toBe(true)
  })
})

describe('the event loop', () => {
  it.each([1, 8])(
    'turns at least every 10 ms while the page cache answers, for %i at once',
    async (atOnce) => {
      us = 20
      await read(new AdaptiveEngine(slices()), 3000, atOnce)
      // 250 requests that query the clock twice, and one more for each reader in flight.
      expect(longest()).toBeLessThanOrEqual(251 + atOnce)
      expect(longest()).toBeGreaterThan(200)
    },
  )

  it('does not turn more often for several files than for one', async () => {
    us = 20
    const shared = slices()
    await Promise.all(Array.from({ length: 4 }, () => read(new AdaptiveEngine(shared), 1000)))
    expect(longest()).toBeLessThanOrEqual(255)
    // 4000 requests of 40 us are 160 ms: one turn for every 10 ms, of all files together.
    expect(story.split('|').length - 1).toBeLessThanOrEqual(17)
  })

  it('is not held up by writes, or by calls that neither read nor write', async () => {
    us = 20
    const engine = new AdaptiveEngine(slices())
    const from = new Uint8Array(512)
    for (let count = 0; count < 1500; count++) {
      await engine.pwrite(fd, from, 0)
      story += '.'
    }
    for (let count = 0; count < 1500; count++) {
      await engine.call(0, async () => {})
      story += '.'
    }
    expect(longest()).toBeLessThanOrEqual(252)
  })

  it('waits for the disk three times, then now and then, ever more seldom', async () => {
    us = 5000
    const engine = new AdaptiveEngine(new Unlimited(clock))
    const here: number[] = []
    for (let count = 0; count < 2000; count++) {
      const before = looks
      await engine.pread(fd, new Uint8Array(4096), 0)
      if (looks > before) here.push(count)
    }
    expect(here.slice(0, 3)).toEqual([0, 1, 2])
    const gaps = here.slice(3).map((at, index) => at - here[index + 2]!)
    expect(gaps.every((gap) => gap >= 16)).toBe(true)
    expect(here.length).toBeLessThan(14)
  })

  it('copies nothing large: that is for the pool, even alone', async () => {
    us = 1
    const engine = new AdaptiveEngine(slices())
    await read(engine, 1, 1, 2 * 2 ** 20)
    const before = time
    expect(before).toBeGreaterThan(0)
    await read(engine, 1, 1, 2 * 2 ** 20 + 1)
    expect(time).toBe(before)
    await engine.call(128 * 1024, async (where) => expect(where).toBe('pool'))
  })

  it('copies on the pool what is large and did not come alone: others wait for a turn', async () => {
    us = 1
    class Crowded extends LoopBudget {
      override get hasWaiting(): boolean {
        return true
      }
    }
    const engine = new AdaptiveEngine(new Crowded(clock))
    await read(engine, 1, 1, 128 * 1024)
    expect(time).toBe(0)
    await read(engine, 1, 1, 64 * 1024)
    expect(time).toBeGreaterThan(0)
  })

  it('turns for each request of the pool', async () => {
    let turns = 0
    let going = true
    const count = (): void => {
      turns++
      if (going) setImmediate(count)
    }
    setImmediate(count)
    const engine = new ThreadEngine()
    await read(engine, 100)
    await engine.call(0, async (where) => expect(where).toBe('pool'))
    going = false
    expect(turns).toBeGreaterThanOrEqual(100)
  })
})
