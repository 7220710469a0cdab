/** Rows are judged by what they must and aim to reach; tables and pictures show that. */
import { expect, test } from 'vitest'
import type { Machine } from '../machine.ts'
import type { Target } from '../workload.ts'
import { ratiosPicture } from './ratios-picture.ts'
import { judge, levelOf, type Results, type RowResult } from './results.ts'
import { kindsTable, programTable, summaryLines } from './table.ts'

const ratio: Target = { of: 'ratio', must: 3, aim: 7 }
const start: Target = { of: 'start', must: 1.5, aim: 1.2 }

test.each([
  [ratio, 2.9, 'missed'],
  [ratio, 3, 'must'],
  [ratio, 7, 'aim'],
  [start, 1.6, 'missed'],
  [start, 1.5, 'must'],
  [start, 1.1, 'aim'],
  [undefined, 1, undefined],
  [ratio, undefined, undefined],
] as const)('%j, %s: %s', (target, value, level) => {
  expect(levelOf(target, value)).toBe(level)
})

const times = (...pairs: readonly (readonly [wall: number, cpu: number])[]) =>
  pairs.map(([wall, cpu]) => ({ wall, cpu }))

const about = { medium: 'memory', unit: 'request', state: 'measured' } as const

const ROWS: readonly RowResult[] = [
  {
    ...about,
    id: 'read',
    title: 'read <4 KiB>',
    target: ratio,
    samples: {
      qemu: times([40, 20], [80, 22], [42, 21]),
      'node-20.0.0': times([10, 10], [20, 11], [14, 7]),
    },
  },
  {
    ...about,
    id: 'start-info',
    title: 'start-up of info',
    unit: 'command',
    target: start,
    samples: {
      'node-20.0.0': times([60_000, 50_000]),
      'empty node-20.0.0': times([50_000, 50_000]),
      qemu: times([6000, 5000]),
    },
  },
  {
    ...about,
    id: 'allocate-4k-lazy-writethrough-d1',
    title: 'allocate',
    target: { of: 'flushes', must: 1, aim: 1 },
    samples: { qemu: times([900, 30]), 'node-20.0.0': times([300, 30]) },
    counts: {
      qemu: countsOf(12),
      'node-20.0.0': countsOf(9),
    },
  },
  { ...about, id: 'zlib', title: 'convert -c', state: 'later', target: ratio, samples: {} },
  { ...about, id: 'broken', title: 'broken', state: 'failed', reason: 'no room', samples: {} },
]

function countsOf(flushes: number) {
  return {
    requests: 8,
    dataWrites: 8,
    metadataWrites: 16,
    dataBytes: 32768,
    metadataBytes: 8192,
    flushes,
    others: 0,
  }
}

const machine: Machine = {
  date: '2030-01-02',
  commit: 'abcdef0',
  processor: 'A & B',
  cores: 2,
  memoryBytes: 8 * 2 ** 30,
  kernel: 'Linux 6.0',
  media: { disk: 'ext4', memory: 'tmpfs' },
  runtimes: ['20.0.0'],
  qemu: '7.2.0',
  load: 0,
}

const RESULTS: Results = {
  kind: 'vmblock programs',
  machine,
  rounds: 3,
  quick: false,
  runtimes: [{ id: 'node-20.0.0', version: '20.0.0' }],
  rows: ROWS,
}

test('by wall clock and by processor time, in pairs of one round', () => {
  const verdict = judge(ROWS[0]!, 'node-20.0.0')
  expect(verdict.wall?.median).toBe(4)
  expect(verdict.cpu?.median).toBe(2)
  expect(verdict).toMatchObject({ level: 'must', cpuLevel: 'missed' })
})

test('a start beside an empty script, flushes beside those of QEMU', () => {
  expect(judge(ROWS[1]!, 'node-20.0.0')).toMatchObject({ level: 'aim', wall: { median: 1.2 } })
  expect(judge(ROWS[2]!, 'node-20.0.0')).toMatchObject({ level: 'aim', wall: { median: 0.75 } })
})

test('a row without QEMU has no verdict', () => {
  const alone: RowResult = { ...ROWS[0]!, samples: { 'node-20.0.0': times([10, 10]) } }
  expect(judge(alone, 'node-20.0.0')).toMatchObject({ wall: undefined, level: undefined })
})

test('the table has the figures, and what must be reached', () => {
  const lines = programTable(RESULTS).split('\n')
  const cells = (text: string): string[] =>
    lines
      .find((line) => line.includes(text))!
      .split('|')
      .map((cell) => cell.trim())
  expect(cells('read <4')).toEqual([
    '',
    'read <4 KiB>',
    '3',
    '7',
    '42 ±2 us',
    '14 ±4 us',
    '4 (3.5-4)',
    '2 (2-2.5)',
    'must (CPU: NO)',
    '',
  ])
  expect(cells('start-up')).toContain('60 ±0 ms')
  expect(cells('allocate')).toContain('9 / 12 flushes')
  expect(cells('convert -c')).toContain('later')
  expect(kindsTable(RESULTS)).toContain('1.13 / 1.5')
  expect(summaryLines(RESULTS)).toEqual([
    'Node 20.0.0: 3 of 3 rows meet "must", 2 "aim"',
    'failed: broken: no room',
  ])
})

test('the picture is well-formed, names every row, and follows the colours of the page', () => {
  const svg = ratiosPicture(RESULTS)
  expect(svg).toContain('read &lt;4 KiB&gt;')
  expect(svg).toContain('A &amp; B')
  expect(svg).toContain('prefers-color-scheme: dark')
  expect(svg).not.toMatch(/NaN|undefined|Infinity/)
  const open: string[] = []
  for (const [, close, name, empty] of svg.matchAll(/<(\/?)([a-z]+)[^<>]*?(\/?)>/g)) {
    if (close) expect(open.pop()).toBe(name)
    else if (!empty) open.push(name!)
  }
  expect(open).toEqual([])
})
