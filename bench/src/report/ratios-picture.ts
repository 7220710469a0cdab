/** The picture of a run: for each row how many times as fast as QEMU we are, and what it must and aims to be. */
import { scaleLog } from 'd3-scale'
import { machineLines } from '../machine.ts'
import type { Summary } from '../statistics.ts'
import { figure } from './figure.ts'
import { judge, lessIsBetter, type Results, type RowResult, type Verdict } from './results.ts'
import { element, label, picture } from './svg.ts'

const WIDTH = 960
const LEFT = 350
const RIGHT = 120
const TOP = 64
const BAR = 9
const GAP = 7
/** The axis reaches at least from here to there, and never beyond these. */
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

/** What stands at the end of a bar: the figure as the table has it. */
function endText({ row: { target } }: Line, { verdict, version }: Bar, several: boolean): string {
  const { median = Number.NaN } = verdict.wall ?? {}
  const text =
    target?.of === 'start'
      ? `${figure(median)}x empty`
      : figure(target?.of === 'flushes' ? 1 / median : median)
  return several ? `${text} (${version.split('.')[0]})` : text
}

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
  for (const line of lines) {
    const height = Math.max(line.bars.length, 1) * BAR
    content.push(label(LEFT - 8, y + height / 2 + 4, line.row.title, { 'text-anchor': 'end' }))
    if (line.bars.length === 0)
      content.push(
        label(x(1) + 6, y + height / 2 + 4, line.row.state === 'measured' ? 'no QEMU' : line.row.state, {
          class: 'faint small',
        }),
      )
    for (const [index, bar] of line.bars.entries()) {
      const top = y + index * BAR
      content.push(...drawBar(x, top, bar))
      const end = Math.max(
        x(bar.value),
        x(bar.high),
        bar.cpu === undefined ? 0 : x(bar.cpu) + 3,
        x(1),
        x(line.aim),
      )
      content.push(label(end + 6, top + BAR - 1, endText(line, bar, several), { class: 'small' }))
    }
    content.push(...drawMarks(x, y, height, line))
    y += height + GAP
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
  return picture(WIDTH, bottom + 64, 'How fast vmblock is beside QEMU', [
    label(16, 24, 'Times as fast as QEMU (right of 1x: ahead)', { class: 'title' }),
    ...legend(),
    ...grid,
    ...content,
    ...machineLines(results.machine).map((text, index) =>
      label(16, bottom + 36 + 15 * index, text, { class: 'faint small' }),
    ),
  ])
}

type Scale = (value: number) => number

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

/** A stroke for what must be reached, an arrow's head for what is aimed at. */
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
