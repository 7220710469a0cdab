/** `pnpm bench micro`: hot functions in nanoseconds, by tinybench, compared with earlier results. */
import { readFileSync, writeFileSync } from 'node:fs'
import { markdownTable } from 'markdown-table'
import { Bench } from 'tinybench'
import type { Settings } from '../command-line.ts'
import { describeMachine, loadWarning, type Machine, machineLines } from '../machine.ts'
import { figure } from '../report/figure.ts'
import { ownRuntime } from '../runtimes.ts'
import type { Micro } from './benchmark.ts'
import { coreMicros } from './core.ts'
import { qcow2Micros } from './qcow2.ts'

/** All functions that can be timed. */
export const MICROS: readonly Micro[] = [...qcow2Micros, ...coreMicros]

/** The times of one function, in nanoseconds for each operation. */
export interface MicroResult {
  readonly name: string
  readonly median: number
  /** Median absolute deviation. */
  readonly mad: number
  readonly p99: number
  readonly samples: number
}

/** All results, as saved in JSON. */
export interface MicroResults {
  readonly kind: 'vmblock micro'
  readonly machine: Machine
  readonly rows: readonly MicroResult[]
}

/** Milliseconds that each function is timed, after half as many to warm up, in full and smoke runs. */
const TIME = { full: 500, quick: 10 }
const NS_PER_MS = 1e6

/** Times one function. */
export async function timeMicro({ name, batch, prepare }: Micro, quick: boolean): Promise<MicroResult> {
  const time = quick ? TIME.quick : TIME.full
  const bench = new Bench({ time, warmupTime: time / 2, iterations: 8, warmupIterations: 2, throws: true })
  const run = await prepare()
  // The clock is read around a batch, and the sample is its mean: one operation is too short for a clock.
  bench.add(
    name,
    async () => {
      const started = performance.now()
      const pending = run()
      if (pending instanceof Promise) await pending
      const elapsed = performance.now() - started
      return { overriddenDuration: elapsed / batch, overriddenIterationCost: elapsed }
    },
    { async: true },
  )
  const [task] = await bench.run()
  const result = task?.result
  if (!result || !('latency' in result)) throw new Error(`${name} was not measured`)
  const { p50, mad, p99, samplesCount } = result.latency
  return {
    name,
    median: p50 * NS_PER_MS,
    mad: mad * NS_PER_MS,
    p99: p99 * NS_PER_MS,
    samples: samplesCount,
  }
}

/** The functions with one of the words in their names. */
export const selectMicros = (words: readonly string[]): readonly Micro[] =>
  words.length === 0
    ? MICROS
    : MICROS.filter(({ name }) => words.some((word) => name.toLowerCase().includes(word.toLowerCase())))

/** The times relative to earlier ones; above 1 a function has become slower. */
export function compareMicros(
  rows: readonly MicroResult[],
  before: readonly MicroResult[],
): ReadonlyMap<string, number> {
  const medians = new Map(before.map(({ name, median }) => [name, median]))
  return new Map(
    rows.flatMap(({ name, median }) => {
      const old = medians.get(name)
      return old === undefined ? [] : [[name, median / old] as const]
    }),
  )
}

function readMicros(path: string): MicroResults {
  const results = JSON.parse(readFileSync(path, 'utf8')) as MicroResults
  if (results.kind !== 'vmblock micro') throw new Error(`${path} holds no results of this part`)
  return results
}

/** Results as a Markdown table. */
export function microTable(rows: readonly MicroResult[], before?: readonly MicroResult[]): string {
  const ratios = before && compareMicros(rows, before)
  const header = ['function', 'ns', '±', 'p99', ...(ratios ? ['x before'] : [])]
  const lines = rows.map(({ name, median, mad, p99 }) => [
    name,
    figure(median),
    figure(mad),
    figure(p99),
    ...(ratios ? [figure(ratios.get(name))] : []),
  ])
  return markdownTable([header, ...lines], { align: header.map((_, column) => (column === 0 ? 'l' : 'r')) })
}

/** Times the functions that the settings select; prints and saves the results. */
export async function runMicro({ root, words, quick, json, compare, list }: Settings): Promise<void> {
  const selected = selectMicros(words)
  if (list) {
    for (const { name } of selected) console.log(name)
    return
  }
  const machine = describeMachine(root, [], [ownRuntime()], undefined)
  const before = compare === undefined ? undefined : readMicros(compare)
  const warning = loadWarning(machine)
  if (warning) process.stderr.write(`vmblock: ${warning}\n`)
  const rows: MicroResult[] = []
  for (const micro of selected) rows.push(await timeMicro(micro, quick))
  console.log(`${machineLines(machine).join('\n')}\n\n${microTable(rows, before?.rows)}`)
  if (json !== undefined) {
    const results: MicroResults = { kind: 'vmblock micro', machine, rows }
    writeFileSync(json, `${JSON.stringify(results)}\n`)
  }
}
