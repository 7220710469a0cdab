/** The picture of one dimension: panels side by side, each with its curves. */
import { scaleLinear, scaleLog } from 'd3-scale'
import type { Dimension, Panel } from '../growth/dimensions.ts'
import type { DimensionResult } from '../growth/run.ts'
import { type Machine, machineLines } from '../machine.ts'
import { figure } from './figure.ts'
import { element, label, picture } from './svg.ts'

const PANEL = { width: 236, height: 150, left: 46, right: 12, top: 66, bottom: 84 }
const FOOT = 34
/** Pixels. */
const HALF_CHARACTER = 3

type Scale = ((value: number) => number) & { ticks(count?: number): number[] }

interface Curve {
  readonly name: string
  readonly isTheirs: boolean
  readonly points: readonly (readonly [x: number, y: number])[]
}

function curvesOf({ curves, proportional = false }: Panel, { points }: DimensionResult): Curve[] {
  return curves.flatMap(([key, name]) => {
    const known = points.flatMap(({ point, figures }) => {
      const value = figures[key]
      // Values too short for the clock cannot be drawn on a logarithmic scale.
      return value === undefined || (proportional && value <= 0) ? [] : [[point, value] as const]
    })
    return known.length === 0 ? [] : [{ name, isTheirs: key.endsWith('(QEMU)'), points: known }]
  })
}

/** A scale from 0, so that constant costs look flat; logarithmic if the question is proportionality. */
function scaleOf(values: readonly number[], from: number, to: number, isLog: boolean): Scale {
  if (isLog) {
    const least = Math.max(Math.min(...values), 0.01)
    return scaleLog([from, to]).domain([least / 1.3, Math.max(...values) * 1.3])
  }
  return scaleLinear([from, to])
    .domain([0, Math.max(...values, 1e-9) * 1.12])
    .nice(4)
}

function drawPanel(panel: Panel, dimension: Dimension, result: DimensionResult, left: number): string[] {
  const curves = curvesOf(panel, result)
  if (curves.length === 0) return []
  const { isLog } = dimension
  const x0 = left + PANEL.left
  const x1 = left + PANEL.width - PANEL.right
  const y0 = PANEL.top + PANEL.height
  const points = result.points.map(({ point }) => point)
  const x: Scale = isLog
    ? scaleLog([x0, x1])
        .base(2)
        .domain([points[0]!, points.at(-1)!])
    : scaleLinear([x0, x1]).domain([0, points.at(-1)!])
  const values = curves.flatMap(({ points }) => points.map(([, value]) => value))
  const y = scaleOf(values, y0, PANEL.top, panel.proportional === true)
  return [
    label(left + 8, PANEL.top - 12, panel.title, { class: 'small' }),
    ...yAxis(y, x0, x1, panel.proportional === true),
    ...xAxis(dimension, points, x, y0),
    ...(panel.proportional ? [proportionalLine(curves[0]!, x, y)] : []),
    ...curves.flatMap((curve, index) => drawCurve(curve, index, x, y)),
    ...curves.map(({ name, isTheirs }, index) => {
      const at = y0 + 34 + 14 * index
      const line = { x1: x0, x2: x0 + 18, y1: at - 4, y2: at - 4 }
      return [
        element('line', { class: `line s${index}${isTheirs ? ' theirs' : ''}`, ...line }),
        label(x0 + 24, at, name, { class: 'small faint' }),
      ].join('')
    }),
  ]
}

function yAxis(y: Scale, x0: number, x1: number, isLog: boolean): string[] {
  const ticks = isLog ? y.ticks().filter((tick) => Number.isInteger(Math.log10(tick))) : y.ticks(4)
  return ticks.flatMap((tick) => [
    element('line', { class: 'grid', x1: x0, x2: x1, y1: y(tick), y2: y(tick) }),
    label(x0 - 5, y(tick) + 4, figure(tick), { class: 'small faint', 'text-anchor': 'end' }),
  ])
}

/** The labels that fit; the last and the first always do. */
function xAxis(dimension: Dimension, points: readonly number[], x: Scale, y0: number): string[] {
  const labels = points.map((point, index) => {
    const text = dimension.label(point)
    const half = text.length * HALF_CHARACTER
    const anchor = index === 0 ? 'start' : index === points.length - 1 ? 'end' : 'middle'
    const middle = x(point) + { start: half, middle: 0, end: -half }[anchor]
    return { text, anchor, at: x(point), from: middle - half, to: middle + half }
  })
  const shown: typeof labels = []
  for (const label of [labels.at(-1)!, labels[0]!, ...labels.slice(1, -1).reverse()])
    if (shown.every(({ from, to }) => label.to + 4 < from || label.from - 4 > to)) shown.push(label)
  return shown.map(({ text, anchor, at }) =>
    label(at, y0 + 16, text, { class: 'small faint', 'text-anchor': anchor }),
  )
}

const pathOf = (points: readonly (readonly [number, number])[]): string =>
  points.map(([x, y], index) => `${index === 0 ? 'M' : 'L'}${x.toFixed(1)} ${y.toFixed(1)}`).join('')

function drawCurve({ points, isTheirs }: Curve, index: number, x: Scale, y: Scale): string[] {
  const drawn = points.map(([point, value]) => [x(point), y(value)] as const)
  return [
    element('path', { class: `line s${index}${isTheirs ? ' theirs' : ''}`, d: pathOf(drawn) }),
    ...drawn.map(([cx, cy]) => element('circle', { class: `f${index}`, cx, cy, r: 2.5 })),
  ]
}

/** The line of proportional growth, which ends where the curve ends. */
function proportionalLine({ points }: Curve, x: Scale, y: Scale): string {
  const [lastX, lastY] = points.at(-1)!
  const [least] = y.ticks()
  const line = points
    .map(([point]) => [point, (lastY * point) / lastX] as const)
    .filter(([, value]) => value >= (least ?? 0))
    .map(([point, value]) => [x(point), y(value)] as const)
  return element('path', { class: 'line grid', d: pathOf(line) })
}

/** Draws a dimension. */
export function curvesPicture(dimension: Dimension, result: DimensionResult, machine: Machine): string {
  const panels = dimension.panels.filter((panel) => curvesOf(panel, result).length > 0)
  const width = Math.max(panels.length, 2) * PANEL.width + 16
  const height = PANEL.top + PANEL.height + PANEL.bottom + FOOT
  return picture(width, height, dimension.title, [
    label(16, 26, dimension.title, { class: 'title' }),
    ...panels.flatMap((panel, index) => drawPanel(panel, dimension, result, index * PANEL.width + 4)),
    ...machineLines(machine).map((text, index) =>
      label(16, height - 24 + 14 * index, text, { class: 'small faint' }),
    ),
  ])
}
