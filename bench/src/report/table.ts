/** Results as Markdown tables, which are legible in a terminal, too. */
import { markdownTable } from 'markdown-table'
import { KINDS, RESERVED } from '../images.ts'
import type { Summary } from '../statistics.ts'
import { QEMU } from '../workload.ts'
import { figure } from './figure.ts'
import {
  judge,
  type Level,
  type Results,
  type RowResult,
  ratioToQemu,
  timeOf,
  type Verdict,
} from './results.ts'

const unitOf = ({ unit }: RowResult): { readonly name: string; readonly us: number } =>
  unit === 'request' ? { name: 'us', us: 1 } : { name: 'ms', us: 1000 }

/** Median and half the spread, in the row's unit. */
function timeText(row: RowResult, side: string): string {
  const time = timeOf(row, side, 'wall')
  if (!time) return '-'
  const { name, us } = unitOf(row)
  return `${figure(time.median / us)} ±${figure(time.mad / us)} ${name}`
}

/** Median and quartiles. */
const ratioText = (ratio: Summary | undefined): string =>
  ratio ? `${figure(ratio.median)} (${figure(ratio.q1)}-${figure(ratio.q3)})` : '-'

/** Exact numbers, since one flush decides. */
const flushesText = ({ counts }: RowResult, runtime: string): string =>
  `${counts?.[runtime]?.flushes ?? '-'} / ${counts?.[QEMU]?.flushes ?? '-'} flushes`

const LEVELS: Readonly<Record<Level, string>> = { aim: 'aim', must: 'must', missed: 'NO' }

function verdictText({ level, cpuLevel }: Verdict): string {
  if (!level) return ''
  if (!cpuLevel || cpuLevel === level) return LEVELS[level]
  return `${LEVELS[level]} (CPU: ${LEVELS[cpuLevel]})`
}

const RELATIONS = { ratio: '', start: 'x empty', flushes: 'x flushes' } as const

const bound = (row: RowResult, which: 'must' | 'aim'): string => {
  if (!row.target) return ''
  const sign = row.target.of === 'ratio' ? '' : '≤'
  return `${sign}${row.target[which]}${row.target.of === 'ratio' ? '' : ` ${RELATIONS[row.target.of]}`}`
}

/** The table of all rows. */
export function programTable({ runtimes, rows }: Results): string {
  const header = [
    'workload',
    'must',
    'aim',
    'QEMU',
    ...runtimes.flatMap(({ version }) => [`Node ${version}`, 'x wall', 'x CPU', 'met']),
  ]
  const lines = rows.map((row) => {
    const start = [row.title, bound(row, 'must'), bound(row, 'aim')]
    if (row.state !== 'measured') return [...start, row.state]
    const cells = runtimes.flatMap(({ id }) => {
      const verdict = judge(row, id)
      const isCount = row.target?.of === 'flushes'
      const wall = isCount ? flushesText(row, id) : ratioText(verdict.wall)
      return [timeText(row, id), wall, ratioText(verdict.cpu), verdictText(verdict)]
    })
    return [...start, timeText(row, QEMU), ...cells]
  })
  const align = header.map((_, column) => (column === 0 ? 'l' : 'r'))
  return markdownTable([header, ...lines], { align })
}

/** `ours / QEMU's`, for a count per guest write. */
function countText(row: RowResult, runtime: string, what: (row: RowResult, side: string) => number): string {
  const of = (side: string): string => {
    const counts = row.counts?.[side]
    return counts ? figure(what(row, side) / counts.requests) : '-'
  }
  return `${of(runtime)} / ${of(QEMU)}`
}

/** The table of kinds: the kinds of image side by side, for durable allocating writes; ours / QEMU's. */
export function kindsTable({ runtimes, rows }: Results): string | undefined {
  const counted = rows.filter(({ counts }) => counts !== undefined)
  if (counted.length === 0) return undefined
  const header = [
    'a durable allocating write',
    ...runtimes.flatMap(({ version }) => [`us, Node ${version} / QEMU`, 'x wall']),
    'data writes',
    'metadata writes',
    'metadata bytes',
    'flushes',
  ]
  const [{ id } = { id: '' }] = runtimes
  const lines = counted.map((row) => {
    const kind = [...KINDS, RESERVED].find((known) => row.id.includes(`-${known.id}-`))
    const depth = /d(\d+)$/.exec(row.id)?.[1]
    const times = runtimes.flatMap((runtime) => [
      [runtime.id, QEMU].map((side) => figure(timeOf(row, side, 'wall')?.median)).join(' / '),
      ratioText(ratioToQemu(row, runtime.id, 'wall')),
    ])
    return [
      `${kind?.title ?? row.id}, depth ${depth}`,
      ...times,
      countText(row, id, (row, side) => row.counts![side]!.dataWrites),
      countText(row, id, (row, side) => row.counts![side]!.metadataWrites),
      countText(row, id, (row, side) => row.counts![side]!.metadataBytes),
      countText(row, id, (row, side) => row.counts![side]!.flushes),
    ]
  })
  return markdownTable([header, ...lines], { align: header.map((_, column) => (column === 0 ? 'l' : 'r')) })
}

/** The number of rows that meet "must", by runtime; and the rows that do not. */
export function summaryLines({ runtimes, rows }: Results): string[] {
  const judged = rows.filter(({ state, target }) => state === 'measured' && target !== undefined)
  const lines = runtimes.map(({ id, version }) => {
    const levels = judged.map((row) => ({ row, level: judge(row, id).level }))
    const count = (wanted: readonly Level[]): number =>
      levels.filter(({ level }) => level && wanted.includes(level)).length
    const missed = levels.filter(({ level }) => level === 'missed').map(({ row }) => row.id)
    const end = missed.length > 0 ? `; below "must": ${missed.join(', ')}` : ''
    const known = levels.filter(({ level }) => level !== undefined).length
    return `Node ${version}: ${count(['must', 'aim'])} of ${known} rows meet "must", ${count(['aim'])} "aim"${end}`
  })
  for (const { id, state, reason } of rows) if (state === 'failed') lines.push(`failed: ${id}: ${reason}`)
  return lines
}
