/** `pnpm bench`: program against program, row by row. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { runTimed } from './child.ts'
import type { Settings } from './command-line.ts'
import type { Counts } from './counts/counts.ts'
import { canTrace, describeMachine, loadWarning, machineLines, qemuVersion } from './machine.ts'
import { openMedia } from './media.ts'
import { ours } from './programs.ts'
import { ratiosPicture } from './report/ratios-picture.ts'
import type { Results, RowResult } from './report/results.ts'
import { kindsTable, programTable, summaryLines } from './report/table.ts'
import { takeTurns } from './rounds.ts'
import { findRuntime, ownRuntime, type Runtime } from './runtimes.ts'
import { openWorkbench, type Workbench, type Workload } from './workload.ts'
import { selectWorkloads } from './workloads/index.ts'

const say = (line: string): boolean => process.stderr.write(`vmblock: ${line}\n`)
/** Shows the progress: one line that changes on a terminal, elsewhere one for each row. */
function tell(line: string, isNewRow = false): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${line}`)
  else if (isNewRow) process.stderr.write(`${line}\n`)
}

/** Measures the rows that the settings select, or reads saved results; prints and saves them. */
export async function runPrograms(settings: Settings): Promise<void> {
  const results = settings.from === undefined ? await measureAll(settings) : readResults(settings.from)
  console.log(machineLines(results.machine).join('\n'))
  console.log(`\n${programTable(results)}\n`)
  const kinds = kindsTable(results)
  if (kinds !== undefined) console.log(`Ours / QEMU's, for each write:\n\n${kinds}\n`)
  console.log(summaryLines(results).join('\n'))
  if (settings.json !== undefined) writeFileSync(settings.json, `${JSON.stringify(results)}\n`)
  if (settings.svg !== undefined) writeFileSync(settings.svg, ratiosPicture(results))
  if (results.rows.some(({ state }) => state === 'failed')) process.exitCode = 1
}

function readResults(path: string): Results {
  const results = JSON.parse(readFileSync(path, 'utf8')) as Results
  if (results.kind !== 'vmblock programs') throw new Error(`${path} holds no results of this part`)
  return results
}

function findRuntimes({ root, runtimes }: Settings): Runtime[] {
  const found = [ownRuntime()]
  for (const name of runtimes) {
    const runtime = findRuntime(name, join(root, '.cache', 'node'), say)
    if (runtime && found.every(({ id }) => id !== runtime.id)) found.push(runtime)
  }
  return found
}

async function measureAll(settings: Settings): Promise<Results> {
  const { root, quick, rounds, words } = settings
  const selected = selectWorkloads(words)
  if (selected.length === 0) throw new Error(`no row has '${words.join("' or '")}' in it; --list shows all`)
  const runtimes = findRuntimes(settings)
  const qemu = qemuVersion()
  if (qemu === undefined) say('qemu-img is missing (Debian: qemu-utils): only our own programs are measured')
  else if (!canTrace())
    say('strace is missing (Debian: strace): of writes and flushes only our own are counted')
  const media = openMedia(settings.directory, settings.memoryDirectory, say)
  const machine = describeMachine(root, Object.values(media), runtimes, qemu)
  const warning = loadWarning(machine)
  if (warning) say(warning)
  const parts = { root, media, runtimes, hasQemu: qemu !== undefined, canTrace: canTrace() }
  const workbench = openWorkbench(parts, quick)
  await keepCompiledCode(workbench)
  const rows: RowResult[] = []
  for (const [index, workload] of selected.entries()) {
    const progress = `${index + 1} of ${selected.length}: ${workload.title}`
    tell(progress, true)
    rows.push(await measureRow(workload, workbench, rounds, (done) => tell(`${progress}, ${done}/${rounds}`)))
  }
  tell('')
  const names = runtimes.map(({ id, version }) => ({ id, version }))
  return { kind: 'vmblock programs', machine, rounds, quick, runtimes: names, rows }
}

/** Runs our programs once so that they cache their compiled code, which is not part of any row. */
async function keepCompiledCode({ root, runtimes }: Workbench): Promise<void> {
  for (const runtime of runtimes)
    for (const program of ['qemu-img', 'qemu-io'] as const)
      for (let i = 0; i < 2; i++) await runTimed(ours(root, runtime, program, ['--version']))
}

async function measureRow(
  workload: Workload,
  workbench: Workbench,
  rounds: number,
  onRound: (done: number) => void,
): Promise<RowResult> {
  const { id, title, medium, unit, target } = workload
  const about = { id, title, medium, unit, ...(target && { target }) }
  try {
    const contestants = await workload.prepare(workbench)
    const samples = await takeTurns(contestants, rounds, onRound)
    const counts: Readonly<Record<string, Counts>> | undefined = await workload.count?.(workbench)
    return { ...about, state: 'measured', samples, ...(counts && { counts }) }
  } catch (error) {
    if (workload.isLater) return { ...about, state: 'later', samples: {} }
    const reason = error instanceof Error ? error.message : String(error)
    return { ...about, state: 'failed', reason, samples: {} }
  } finally {
    workbench.clear()
  }
}
