/** The judge refuses exactly the histories that no disk may have: chosen examples, and random small ones. */
import { describe, expect, test } from 'vitest'
import { ABSENT, type Effect, History } from './history.ts'
import { createRandom, type Random } from './random.ts'

const read = (value: number | undefined): Effect => ({ kind: 'read', value })
const write = (value: number): Effect => ({ kind: 'write', value })
const maybe = (value: number): Effect => ({ kind: 'write', value, optional: true })
const CUT: Effect = { kind: 'cut' }
const APPEAR: Effect = { kind: 'appear' }
const REFUSED: Effect = { kind: 'refused' }

type Line = readonly [drawing: string, effect: Effect]

/**
 * A history of one sector that began as 0, drawn: a line for each request, `|` where it begins and ends. A request
 * without a second `|` never ended.
 */
function judge(...lines: readonly Line[]): string | undefined {
  const history = new History(1)
  const calls = lines.map(() => undefined as ReturnType<History['invoke']> | undefined)
  const width = Math.max(...lines.map(([drawing]) => drawing.length))
  for (let column = 0; column < width; column++) {
    for (const [row, [drawing, effect]] of lines.entries()) {
      if (drawing[column] !== '|') continue
      const call = calls[row]
      if (call) call.end()
      else {
        calls[row] = history.invoke(`request ${row}`)
        calls[row].on(0, effect)
      }
    }
  }
  return history.judge(() => 0)
}

describe('a history', () => {
  test.each<readonly [string, readonly Line[]]>([
    ['nothing but reads', [['| |', read(0)]]],
    [
      'a read of what was written before it',
      [
        ['| |', write(1)],
        ['    | |', read(1)],
      ],
    ],
    [
      'a read during a write, which finds the old',
      [
        ['|   |', write(1)],
        [' | |', read(0)],
      ],
    ],
    [
      'a read during a write, which finds the new',
      [
        ['|   |', write(1)],
        [' | |', read(1)],
      ],
    ],
    [
      'writes at once, of which the one that began first won',
      [
        ['|  |', write(1)],
        [' |  |', write(2)],
        ['      ||', read(1)],
      ],
    ],
    [
      'reads at once, of which one finds the new and one the old',
      [
        ['|      |', write(1)],
        [' |   |', read(1)],
        ['  |   |', read(0)],
      ],
    ],
    [
      'a write that never ended, and is seen',
      [
        ['|', write(1)],
        ['  ||', read(0)],
        ['    ||', read(1)],
      ],
    ],
    [
      'a write that never ended, and is never seen',
      [
        ['|', write(1)],
        ['  ||', read(0)],
      ],
    ],
    [
      'a discard that did something',
      [
        ['||', write(1)],
        ['  ||', maybe(0)],
        ['    ||', read(0)],
      ],
    ],
    [
      'a discard that did nothing',
      [
        ['||', write(1)],
        ['  ||', maybe(0)],
        ['    ||', read(1)],
      ],
    ],
    [
      'zeroes that were written over zeroes, after what was written at the same time',
      [
        ['|    |', write(0)],
        [' |  |', write(5)],
        ['       ||', read(0)],
      ],
    ],
    [
      'a cut and a growth, which zero',
      [
        ['||', write(1)],
        ['  ||', CUT],
        ['    ||', APPEAR],
        ['      ||', read(0)],
      ],
    ],
    [
      'a refusal while the disk was cut',
      [
        ['|   |', CUT],
        [' | |', REFUSED],
        ['     ||', REFUSED],
      ],
    ],
    [
      'a write as it is cut off',
      [
        ['|   |', CUT],
        [' | |', write(3)],
        ['     ||', REFUSED],
      ],
    ],
    [
      'a value that was saved and brought back',
      [
        ['||', write(1)],
        ['  ||', { kind: 'save', name: 'a' }],
        ['    ||', write(2)],
        ['      ||', { kind: 'restore', name: 'a' }],
        ['        ||', read(1)],
      ],
    ],
  ])('of %s is explained', (_, lines) => {
    expect(judge(...lines)).toBeUndefined()
  })

  test.each<readonly [string, readonly Line[]]>([
    [
      'a stale read',
      [
        ['||', write(1)],
        ['  ||', write(2)],
        ['    ||', read(1)],
      ],
    ],
    [
      'a read of what was there before all',
      [
        ['||', write(1)],
        ['  ||', read(0)],
      ],
    ],
    [
      'a lost write',
      [
        ['|  |', write(1)],
        [' ||', write(2)],
        ['    ||', read(0)],
      ],
    ],
    [
      'a read from the future',
      [
        ['||', read(1)],
        ['  ||', write(1)],
      ],
    ],
    [
      'a value that no request wrote',
      [
        ['||', write(1)],
        ['  ||', read(7)],
      ],
    ],
    [
      'an inversion: new, then old',
      [
        ['|      |', write(1)],
        [' ||', read(1)],
        ['   ||', read(0)],
      ],
    ],
    [
      'readers that disagree about which write was last',
      [
        ['|       |', write(1)],
        ['|       |', write(2)],
        [' ||', read(1)],
        ['   ||', read(2)],
        ['     ||', read(1)],
      ],
    ],
    [
      'a mixture',
      [
        ['|   |', write(1)],
        [' | |', read(undefined)],
      ],
    ],
    [
      'a lost zero',
      [
        ['||', write(1)],
        ['  ||', write(0)],
        ['    ||', read(1)],
      ],
    ],
    [
      'a discard that wrote something else',
      [
        ['||', write(1)],
        ['  ||', maybe(0)],
        ['    ||', read(3)],
      ],
    ],
    [
      'a discard that changed its mind',
      [
        ['||', write(1)],
        ['  ||', maybe(0)],
        ['    ||', read(1)],
        ['      ||', read(0)],
      ],
    ],
    [
      'what was cut off and came back',
      [
        ['||', write(1)],
        ['  ||', CUT],
        ['    ||', APPEAR],
        ['      ||', read(1)],
      ],
    ],
    [
      'a write beyond the end',
      [
        ['||', CUT],
        ['  ||', write(1)],
      ],
    ],
    [
      'a read beyond the end',
      [
        ['||', CUT],
        ['  ||', read(0)],
      ],
    ],
    [
      'a refusal without a reason',
      [
        ['||', write(1)],
        ['  ||', REFUSED],
      ],
    ],
    [
      'a write that ended before the growth, and is there after it',
      [
        ['|   |', CUT],
        [' |   |', write(3)],
        ['      ||', APPEAR],
        ['        ||', read(3)],
      ],
    ],
    ['something brought back that was never saved', [['||', { kind: 'restore', name: 'a' }]]],
  ])('with %s is refused', (_, lines) => {
    expect(judge(...lines)).toMatch(/^sector 0: no order of the requests explains/)
  })

  test('that is refused names the request that cannot be explained, and no later one', () => {
    const complaint = judge(['||', write(1)], ['  ||', read(0)], ['    ||', read(1)])
    expect(complaint).toContain('"request 1", which ended at 4 (found 0)')
    expect(complaint).not.toContain('request 2')
  })

  test('keeps registers apart', () => {
    const history = new History(2)
    const call = history.invoke('write')
    call.on(1, write(4))
    call.end()
    const mode = history.invoke('reopen')
    mode.on('mode', write(1))
    mode.end()
    const all = history.invoke('resize')
    all.onSectors((sector) => (sector < 1 ? APPEAR : CUT))
    all.end()
    const look = history.invoke('read')
    look.on(0, read(0))
    look.on(1, REFUSED)
    look.on('mode', read(1))
    look.end()
    expect(history.judge(() => 0)).toBeUndefined()
    const wrong = history.invoke('read')
    wrong.on('mode', read(0))
    wrong.end()
    expect(history.judge(() => 0)).toMatch(/^mode: /)
  })
})

interface Drawn {
  readonly effect: Effect
  readonly from: number
  readonly to: number
}

/** The possible values of a register after an effect: the plain definition. */
function possible(effect: Effect, value: number): number[] {
  if (effect.optional) return [value, ...possible({ ...effect, optional: false }, value)]
  switch (effect.kind) {
    case 'read':
      return effect.value === value ? [value] : []
    case 'write':
      return value === ABSENT ? [] : [effect.value]
    case 'cut':
      return [ABSENT]
    case 'appear':
      return [value === ABSENT ? 0 : value]
    case 'refused':
      return value === ABSENT ? [value] : []
    default:
      throw new Error('not here')
  }
}

/** Tries every order. */
function hasOrder(left: readonly Drawn[], value: number): boolean {
  if (left.length === 0) return true
  return left.some((next) => {
    const others = left.filter((other) => other !== next)
    if (others.some((other) => other.to < next.from)) return false
    return possible(next.effect, value).some((after) => hasOrder(others, after))
  })
}

function randomEffect(random: Random): Effect {
  const value = random.int(0, 3)
  switch (random.int(0, 12)) {
    case 0:
      return CUT
    case 1:
      return APPEAR
    case 2:
      return REFUSED
    case 3:
      return maybe(value)
    case 4:
    case 5:
    case 6:
    case 7:
      return write(value)
    default:
      return read(value)
  }
}

test('agrees with the trial of all orders on thousands of small histories', () => {
  const random = createRandom(1)
  let explained = 0
  const histories = 4000
  for (let round = 0; round < histories; round++) {
    const count = random.int(2, 7)
    // A shuffled clock: each request gets two of its ticks.
    const moments = Array.from({ length: count * 2 }, (_, moment) => moment)
    for (let at = moments.length - 1; at > 0; at--) {
      const other = random.int(0, at + 1)
      ;[moments[at], moments[other]] = [moments[other]!, moments[at]!]
    }
    const drawn: Drawn[] = Array.from({ length: count }, (_, i) => {
      const [a, b] = [moments[2 * i]!, moments[2 * i + 1]!]
      // Close in time: otherwise nearly all requests overlap.
      return {
        effect: randomEffect(random),
        from: Math.min(a, b),
        to: Math.min(Math.max(a, b), Math.min(a, b) + 3),
      }
    })
    const events = drawn
      .flatMap((request) => [
        { moment: request.from, request, ends: false },
        { moment: request.to + 0.5, request, ends: true },
      ])
      .sort((a, b) => a.moment - b.moment)
    const history = new History(1)
    const calls = new Map<Drawn, ReturnType<History['invoke']>>()
    for (const { request, ends } of events) {
      if (ends) calls.get(request)!.end()
      else {
        const call = history.invoke(JSON.stringify(request))
        call.on(0, request.effect)
        calls.set(request, call)
      }
    }
    const verdict = history.judge(() => 0) === undefined
    // Ends are half a tick late, so that an end and a beginning never coincide.
    expect(verdict, JSON.stringify(drawn)).toBe(hasOrder(drawn, 0))
    if (verdict) explained++
  }
  // Both verdicts must be common; otherwise the comparison is worthless.
  expect(explained).toBeGreaterThan(histories / 10)
  expect(explained).toBeLessThan((histories * 9) / 10)
})
