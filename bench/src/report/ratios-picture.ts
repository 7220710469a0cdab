/** The picture of a run: for each row our speed relative to QEMU's, and what it must and aims to be. */
import { scaleLog } from 'd3-scale'
import { machineLines } from '../machine.ts'
import type { Summary } from '../statistics.ts'
import { figure } from './figure.ts'
import { judge, lessIsBetter, type Results, type RowResult, type Verdict } from './results.ts'
import { element, label, picture } from './svg.ts'

const WIDTH = 1000
const LEFT = 396
const RIGHT = 110
const TOP = 64
const BAR = 9
const GAP = 7
/** Height of a heading in pixels. */
const HEADING = 22
/** The axis spans at least `least` to `most`, and never exceeds `floor` and `ceiling`. */
const AXIS = { least: 0.5, most: 2, floor: 1 / 16, ceiling: 256 }

/** One bar: further to the right is better. */
interface Bar {
  readonly version: string
  readonly verdict: Verdict
  readonly value: number
  readonly low: number
  readonly high: number
  readonly cpu: number | undefined
}

interface Line {
  readonly row: RowResult
  readonly must: number
  readonly aim: number
  readonly bars: readonly Bar[]
}

function barOf(row: RowResult, version: string, verdict: Verdict): Bar | undefined {
  const { wall, cpu } = verdict
  if (!wall) return undefined
  const turned = lessIsBetter(row.target)
  const show = (value: number): number => (turned ? 1 / value : value)
  const ends: Summary = turned ? { ...wall, q1: wall.q3, q3: wall.q1 } : wall
  return {
    version,
    verdict,
    value: show(wall.median),
    low: show(ends.q1),
    high: show(ends.q3),
    cpu: cpu && show(cpu.median),
  }
}

function linesOf({ rows, runtimes }: Results): Line[] {
  return rows.flatMap((row) => {
    const { target, state } = row
    if (!target) return []
    const bound = (which: 'must' | 'aim'): number =>
      lessIsBetter(target) ? 1 / target[which] : target[which]
    const bars =
      state === 'measured'
        ? runtimes.flatMap(({ id, version }) => barOf(row, version, judge(row, id)) ?? [])
        : []
    return [{ row, must: bound('must'), aim: bound('aim'), bars }]
  })
}

const SUFFIXES = { ratio: '', start: 'x', flushes: 'x' } as const

/** The text at the end of a bar: the figure as in the table. */
function endText({ row: { target } }: Line, { verdict, version }: Bar, several: boolean): string {
  const text = `${figure(verdict.wall?.median)}${SUFFIXES[target?.of ?? 'ratio']}`
  return several ? `${text} (${version.split('.')[0]})` : text
}

/** What the rows are compared with, in the order of the picture; less is better in all but the first. */
const HEADINGS = {
  ratio: 'QEMU’s time / ours',
  flushes: 'our flushes / QEMU’s',
  start: 'our time / that of an empty Node script',
} as const

/** Draws a run. */
export function ratiosPicture(results: Results): string {
  const lines = linesOf(results)
  const values = lines.flatMap(({ must, aim, bars }) => [
    must,
    aim,
    ...bars.flatMap(({ low, high, cpu = 1 }) => [low, high, cpu]),
  ])
  const within = (value: number): number => Math.min(Math.max(value, AXIS.floor), AXIS.ceiling)
  const x = scaleLog([LEFT, WIDTH - RIGHT])
    .base(2)
    .domain([within(Math.min(AXIS.least, ...values) / 1.1), within(Math.max(AXIS.most, ...values) * 1.1)])
    .clamp(true)
  const several = results.runtimes.length > 1
  const content: string[] = []
  let y = TOP
  for (const [of, heading] of Object.entries(HEADINGS)) {
    const group = lines.filter(({ row }) => row.target?.of === of)
    if (group.length === 0) continue
    content.push(label(LEFT - 8, y + 10, heading, { class: 'small faint', 'text-anchor': 'end' }))
    y += HEADING
    for (const line of group) {
      content.push(...drawLine(x, y, line, several))
      y += heightOf(line) + GAP
    }
  }
  const bottom = y
  const grid = x.ticks(8).flatMap((tick) => {
    if (!Number.isInteger(Math.log2(tick))) return []
    const at = x(tick)
    return [
      element('line', { class: tick === 1 ? 'axis' : 'grid', x1: at, x2: at, y1: TOP - 6, y2: bottom }),
      label(at, bottom + 14, tick < 1 ? `1/${1 / tick}` : `${tick}x`, {
        class: 'faint small',
        'text-anchor': 'middle',
      }),
    ]
  })
  return picture(WIDTH, bottom + 64, 'How fast vmblock is beside QEMU, for each workload', [
    label(16, 24, 'vmblock beside QEMU: the further to the right, the better', { class: 'title' }),
    ...legend(),
    ...grid,
    ...content,
    ...machineLines(results.machine).map((text, index) =>
      label(16, bottom + 36 + 15 * index, text, { class: 'faint small' }),
    ),
  ])
}

type Scale = (value: number) => number

const heightOf = ({ bars }: Line): number => Math.max(bars.length, 1) * BAR

function drawLine(x: Scale, y: number, line: Line, several: boolean): string[] {
  const { row, bars, aim } = line
  const height = heightOf(line)
  const middle = y + height / 2 + 4
  const parts = [label(LEFT - 8, middle, row.title, { 'text-anchor': 'end' })]
  if (bars.length === 0) {
    const text = row.state === 'measured' ? 'no QEMU' : row.state
    parts.push(label(Math.max(x(1), x(aim)) + 10, middle, text, { class: 'faint small' }))
  }
  for (const [index, bar] of bars.entries()) {
    const top = y + index * BAR
    const end = Math.max(x(Math.max(bar.value, bar.high, bar.cpu ?? 0, 1)), x(aim) + 4)
    parts.push(
      ...drawBar(x, top, bar),
      label(end + 7, top + BAR - 1, endText(line, bar, several), { class: 'small' }),
    )
  }
  return [...parts, ...drawMarks(x, y, height, line)]
}

function drawBar(x: Scale, top: number, { value, low, high, cpu, verdict }: Bar): string[] {
  const [from, to] = [x(1), x(value)].sort((a, b) => a - b) as [number, number]
  const middle = top + (BAR - 2) / 2
  return [
    element('rect', {
      class: verdict.level ?? 'none',
      x: from,
      y: top,
      width: Math.max(to - from, 1),
      height: BAR - 2,
    }),
    element('line', { class: 'whisker', x1: x(low), x2: x(high), y1: middle, y2: middle }),
    ...(cpu === undefined ? [] : [element('circle', { class: 'dot', cx: x(cpu), cy: middle, r: 2.6 })]),
  ]
}

/** A stroke at what must be reached, an arrowhead at what is aimed at. */
function drawMarks(x: Scale, y: number, height: number, { must, aim }: Line): string[] {
  const [top, bottom] = [y - 3, y + height + 1]
  const middle = (top + bottom) / 2
  return [
    element('line', { class: 'mark', x1: x(must), x2: x(must), y1: top, y2: bottom }),
    element('path', {
      class: 'mark',
      d: `M${x(aim).toFixed(1)} ${top}l4 ${(middle - top).toFixed(1)}l-4 ${(bottom - middle).toFixed(1)}`,
    }),
  ]
}

function legend(): string[] {
  const y = 42
  const parts: string[] = []
  let at = 16
  const add = (mark: (x: number) => string, text: string): void => {
    parts.push(mark(at), label(at + 16, y + 4, text, { class: 'small faint' }))
    at += 26 + text.length * 5.6
  }
  const box = (name: string) => (x: number) =>
    element('rect', { class: name, x, y: y - 4, width: 11, height: 8 })
  add(box('aim'), 'reaches the aim')
  add(box('must'), 'reaches the must')
  add(box('missed'), 'below it')
  add((x) => element('line', { class: 'mark', x1: x + 6, x2: x + 6, y1: y - 6, y2: y + 6 }), 'must')
  add((x) => element('path', { class: 'mark', d: `M${x + 4} ${y - 6}l4 6l-4 6` }), 'aim')
  add(
    (x) => element('circle', { class: 'dot', cx: x + 6, cy: y, r: 2.6 }),
    'by processor time instead of wall clock',
  )
  add((x) => element('line', { class: 'whisker', x1: x, x2: x + 12, y1: y, y2: y }), 'quartiles')
  return parts
}
