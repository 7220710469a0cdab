/** `pnpm bench growth`: how costs grow, each point in a process of its own; tables, JSON and curves. */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { markdownTable } from 'markdown-table'
import { runTimed } from '../child.ts'
import type { Settings } from '../command-line.ts'
import { describeMachine, loadWarning, type Machine, machineLines, qemuVersion } from '../machine.ts'
import { openMedia } from '../media.ts'
import { theirs } from '../programs.ts'
import { curvesPicture } from '../report/curves-picture.ts'
import { figure } from '../report/figure.ts'
import { ownRuntime, type Runtime } from '../runtimes.ts'
import { summarize } from '../statistics.ts'
import { DIMENSIONS, type Dimension, type TheirMeasure } from './dimensions.ts'
import type { Figures, Order } from './order.ts'

/** The results of one dimension. */
export interface DimensionResult {
  readonly id: string
  readonly points: readonly { readonly point: number; readonly figures: Figures }[]
}

/** All results, as saved in JSON. */
export interface GrowthResults {
  readonly kind: 'vmblock growth'
  readonly machine: Machine
  readonly dimensions: readonly DimensionResult[]
}

/** The worker is bundled beside this program. */
const WORKER = fileURLToPath(new URL('growth/worker.mjs', import.meta.url))

/** Figures in the units of the panels. */
const DERIVED: readonly (readonly [to: string, from: string, by: number])[] = [
  ['open us', 'open ms', 1000],
  ['open KiB', 'open bytes', 1 / 1024],
  ['check MiB', 'check bytes', 1 / 2 ** 20],
]

async function measureOurs(runtime: Runtime, order: Order): Promise<Figures> {
  const args = ['--expose-gc', WORKER, JSON.stringify(order)]
  const { stdout } = await runTimed({ file: runtime.path, args })
  const figures = JSON.parse(stdout) as Record<string, number>
  for (const [to, from, by] of DERIVED) if (figures[from] !== undefined) figures[to] = figures[from] * by
  return figures
}

const THEIR_RUNS = 3

/** Measures QEMU's program on the same image with the same options. */
async function measureTheirs(
  { figure, kind, args, count }: TheirMeasure,
  path: string,
  options: Order['options'],
): Promise<Figures> {
  const words = [
    'driver=qcow2',
    ...Object.entries(options).map(([key, value]) => `${key}=${value}`),
    `file.filename=${path}`,
  ]
  const image = ['--image-opts', words.join(',')]
  const run = async (): Promise<number> => {
    if (kind === 'check') {
      const { wall } = await runTimed(theirs('qemu-img', ['check', ...image]))
      const idle = await runTimed(theirs('qemu-img', ['--version']))
      return Math.max(wall - idle.wall, 0) * 1000
    }
    const { stdout } = await runTimed(theirs('qemu-img', ['bench', '-c', String(count), ...args, ...image]))
    return (Number(/completed in ([\d.]+) seconds/.exec(stdout)?.[1]) * 1e6) / count
  }
  const found: number[] = []
  for (let i = 0; i < THEIR_RUNS; i++) found.push(await run())
  return { [`${figure} (QEMU)`]: summarize(found)?.median ?? Number.NaN }
}

async function measureDimension(
  dimension: Dimension,
  { directory, runtime, hasQemu, quick }: GrowthBench,
): Promise<DimensionResult> {
  const points: { readonly point: number; readonly figures: Figures }[] = []
  const wanted = quick ? [dimension.points[0]!, dimension.points[2]!] : dimension.points
  for (const point of wanted) {
    if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${dimension.id}, ${dimension.label(point)}`)
    const chain = await dimension.make(point, directory)
    const options = dimension.options?.(point) ?? {}
    try {
      const measures = dimension.measures(point, quick)
      let figures: Figures = {}
      // Before ours, whose last measurements may write.
      for (const measure of hasQemu ? (dimension.theirs?.(point, quick) ?? []) : [])
        figures = { ...figures, ...(await measureTheirs(measure, chain[0]!, options)) }
      figures = { ...(await measureOurs(runtime, { chain, options, measures })), ...figures }
      points.push({ point, figures })
    } finally {
      for (const path of chain) rmSync(path, { force: true })
    }
  }
  if (process.stderr.isTTY) process.stderr.write('\r\x1b[K')
  return { id: dimension.id, points }
}

interface GrowthBench {
  readonly directory: string
  readonly runtime: Runtime
  readonly hasQemu: boolean
  readonly quick: boolean
}

/** A Markdown table with a row for each point. */
export function growthTable(dimension: Dimension, { points }: DimensionResult): string {
  const drawn = dimension.panels.flatMap(({ title, curves }) =>
    curves.map(([key, name]) => ({ key, title: `${title}: ${name}` })),
  )
  // On one scale with the memory of an image, that of a whole process would hide it.
  const peak = { key: 'memory peak', title: 'MiB of the process, at most' }
  const columns = [...drawn.filter(({ key }) => key !== peak.key), peak].filter(({ key }) =>
    points.some(({ figures }) => figures[key] !== undefined),
  )
  const rows = points.map(({ point, figures }) => [
    dimension.label(point),
    ...columns.map(({ key }) => figure(figures[key])),
  ])
  const header = [dimension.axis, ...columns.map(({ title }) => title)]
  return markdownTable([header, ...rows], { align: header.map((_, i) => (i === 0 ? 'l' : 'r')) })
}

const dimensionOf = (id: string): Dimension => DIMENSIONS.find((known) => known.id === id)!

function readGrowth(path: string): GrowthResults {
  const results = JSON.parse(readFileSync(path, 'utf8')) as GrowthResults
  if (results.kind !== 'vmblock growth') throw new Error(`${path} holds no results of this part`)
  return results
}

async function measureGrowth(settings: Settings, selected: readonly Dimension[]): Promise<GrowthResults> {
  const { root, quick, directory, memoryDirectory } = settings
  const { memory } = openMedia(directory, memoryDirectory, () => {})
  const runtime = ownRuntime()
  const qemu = qemuVersion()
  const machine = describeMachine(root, [memory], [runtime], qemu)
  const warning = loadWarning(machine)
  if (warning) process.stderr.write(`vmblock: ${warning}\n`)
  const bench = { directory: memory.directory, runtime, hasQemu: qemu !== undefined, quick }
  const dimensions: DimensionResult[] = []
  for (const dimension of selected) dimensions.push(await measureDimension(dimension, bench))
  return { kind: 'vmblock growth', machine, dimensions }
}

/** Measures the dimensions that the words name, or reads saved results; prints and saves them. */
export async function runGrowth(settings: Settings): Promise<void> {
  const { words, list, json, svg, from } = settings
  const selected = DIMENSIONS.filter(({ id }) => words.length === 0 || words.includes(id))
  if (list) {
    for (const { id, title } of selected) console.log(`${id.padEnd(16)} ${title}`)
    return
  }
  if (selected.length === 0) throw new Error(`no dimension is called '${words.join("' or '")}'`)
  const results = from === undefined ? await measureGrowth(settings, selected) : readGrowth(from)
  console.log(machineLines(results.machine).join('\n'))
  for (const result of results.dimensions) {
    const dimension = dimensionOf(result.id)
    console.log(`\n${dimension.title}\n\n${growthTable(dimension, result)}`)
    if (svg === undefined) continue
    mkdirSync(svg, { recursive: true })
    writeFileSync(join(svg, `growth-${result.id}.svg`), curvesPicture(dimension, result, results.machine))
  }
  if (json !== undefined) writeFileSync(json, `${JSON.stringify(results)}\n`)
}
