import { Output } from '@vmblock/cli'
import { describe, expect, it } from 'vitest'
import { Progress } from './progress.ts'
import type { BarTerminal } from './progress-bar.ts'

/** A progress line and its output. */
function watched(shown: boolean, minSkip: number, terminal?: BarTerminal, isQuiet = false) {
  const said = { out: '', err: '', flushes: 0 }
  const output = new Output('qemu-img', {
    print(text) {
      said.out += text
    },
    error(text) {
      said.err += text
    },
    flush() {
      said.flushes++
    },
  })
  return { said, progress: new Progress(output, { shown, minSkip, terminal, isQuiet }) }
}

/** A terminal, with what was drawn on it and a clock. */
function barTerminal() {
  const drawn: string[] = []
  const clock = { time: 0 }
  const terminal: BarTerminal = {
    now: () => clock.time,
    openBar() {
      drawn.push('open')
      return {
        show: (fraction, rate) => void drawn.push(`${fraction} ${rate}`),
        hide: () => void drawn.push('hidden'),
        end: (keep) => void drawn.push(keep ? 'kept' : 'erased'),
      }
    },
  }
  return { drawn, clock, terminal }
}

describe('progress', () => {
  it('is told when it has moved far enough, and at both ends', () => {
    const { said, progress } = watched(true, 2)
    for (const percent of [0, 1, 2, 2.5, 3, 100]) progress.set(percent)
    progress.end()
    expect(said.out).toBe('    (0.00/100%)\r    (2.50/100%)\r    (100.00/100%)\r\n')
    expect(said.flushes).toBe(3)
  })

  it('adds parts in single precision, as QEMU does', () => {
    const { said, progress } = watched(true, 0)
    progress.advance(1, 3)
    progress.advance(1, 3)
    progress.advance(1, 32)
    expect(said.out).toBe('    (33.33/100%)\r    (66.67/100%)\r    (69.79/100%)\r')
  })

  it('never exceeds its end', () => {
    const { said, progress } = watched(true, 0)
    progress.setPart(5, 4)
    expect(said.out).toBe('    (100.00/100%)\r')
  })

  it('is a bar on a terminal: at once with -p, which stays when all is done', () => {
    const { drawn, terminal, clock } = barTerminal()
    const { said, progress } = watched(true, 0, terminal)
    progress.ofBytes(2000)
    progress.set(0)
    clock.time = 500
    for (const percent of [50, 100]) progress.set(percent)
    progress.end()
    expect(drawn).toEqual(['open', '0 undefined', '0.5 2000', '1 4000', 'kept'])
    expect(said).toMatchObject({ out: '', err: '' })
  })

  it('is a bar without -p once the command has taken a second, which leaves no trace', () => {
    const { drawn, terminal, clock } = barTerminal()
    const { said, progress } = watched(false, 0, terminal)
    progress.set(0)
    clock.time = 999
    progress.set(10)
    expect(drawn).toEqual([])
    clock.time = 1000
    progress.set(25)
    progress.set(100)
    progress.end()
    expect(drawn).toEqual(['open', '0.25 undefined', '1 undefined', 'erased'])
    expect(said).toMatchObject({ out: '', err: '' })
  })

  it('leaves no bar after a failure, and has none with -q', () => {
    const failed = barTerminal()
    const { progress } = watched(true, 0, failed.terminal)
    progress.set(30)
    progress.end()
    expect(failed.drawn.at(-1)).toBe('erased')
    const quiet = barTerminal()
    const silent = watched(false, 0, quiet.terminal, true)
    quiet.clock.time = 5000
    silent.progress.set(30)
    silent.progress.end()
    expect(quiet.drawn).toEqual([])
  })

  it('is silent where it is not shown, but answers a signal, once', () => {
    const { said, progress } = watched(false, 1)
    progress.set(0)
    progress.request()
    progress.set(10)
    progress.set(20)
    progress.end()
    expect(said).toEqual({ out: '', err: '    (10.00/100%)\n', flushes: 0 })
  })
})
