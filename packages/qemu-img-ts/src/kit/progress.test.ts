import { Output } from '@vmblock/cli'
import { describe, expect, it } from 'vitest'
import { Progress } from './progress.ts'

/** A progress line and its output. */
function watched(shown: boolean, minSkip: number, columns?: number) {
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
    columns: () => columns,
  })
  return { said, progress: new Progress(output, { shown, minSkip }) }
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

  it('has a bar on a terminal, where there is room', () => {
    const bars = (columns: number): string[] => {
      const { said, progress } = watched(true, 0, columns)
      for (const percent of [0, 50, 100]) progress.set(percent)
      return said.out.split('\r')
    }
    expect(bars(31)).toEqual([
      '    (0.00/100%)   [          ]',
      '    (50.00/100%)  [=====     ]',
      '    (100.00/100%) [==========]',
      '',
    ])
    expect(bars(30)).toEqual(['    (0.00/100%)', '    (50.00/100%)', '    (100.00/100%)', ''])
    expect(bars(500)[2]).toHaveLength(17 + 3 + 50)
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
