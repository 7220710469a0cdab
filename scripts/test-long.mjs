// `npm run test:long`: the tests that sample in `npm test`, at length: within an hour on two cores. The run
// is cut into chunks of a few minutes; chunks that passed are remembered for this commit, so that an
// interrupted run resumes where it stopped. Ends with a table of the counts.
import { mkdirSync, writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { dirname } from 'node:path'
import { pathToFileURL } from 'node:url'
import { provideGuest } from './guest.mjs'
import { providePrograms } from './programs.mjs'
import { setup } from './setup.mjs'
import { at, Failure, fail, mustRun, nodeTool, readJson, run } from './toolchain.mjs'

const HELP = `usage: npm run test:long -- [options] [word...]
  word      only the parts whose names contain one of the words
  --again   do not skip what passed before on this commit
  --list    name the chunks, run nothing
  -j N      chunks at the same time (default: one for each core, at most 2)
`

/** Milliseconds after which a test of a chunk fails. */
const TIMEOUT = 3_600_000

/** Power cuts of one kind, from 9 seeds in each chunk: the kinds with 8 of them make a million states together. */
const powerCuts = (format, kind, { folder = 'tests/', chunks = 8 } = {}) => ({
  name: `power cuts: ${kind}, ${format}`,
  args: ['--project', 'unit', `packages/${format}/src/${folder}crash-${kind}.test`],
  env: { CRASH_SCALE: '9' },
  seeds: { from: 'CRASH_SEED', first: 1, each: 9, chunks },
})

/**
 * The parts: each runs `chunks` times, with the next `seeds` seeds from `first` on in the variable `from`.
 * The longest comes first.
 */
const PARTS = [
  { name: 'the real programs, and kills', args: ['--project', 'interop'], env: { VMBLOCK_LONG: '1' } },
  ...['requests', 'structure', 'overlays'].map((kind) => powerCuts('qcow2', kind)),
  ...['snapshots', 'bitmaps', 'compact', 'encryption'].map((kind) => powerCuts('qcow2', kind, { chunks: 2 })),
  powerCuts('qed', 'requests', { folder: '' }),
  ...['vdi', 'parallels', 'vhdx'].map((format) => ({
    name: `power cuts: ${format}`,
    args: ['--project', 'unit', `packages/${format}/src/crash`],
    env: { CRASH_SCALE: '9' },
    seeds: { from: 'CRASH_SEED', first: 1, each: 9, chunks: 1 },
  })),
  { name: 'both programs do the same', args: ['--project', 'differential'], env: { VMBLOCK_LONG: '1' } },
  {
    name: 'power cuts, crashes and killed workers in Chromium',
    args: ['--project', 'chromium', 'tests/stores'],
    env: { CRASH_SCALE: '5' },
    seeds: { from: 'CRASH_SEED', first: 1, each: 5, chunks: 1 },
  },
  {
    name: 'requests at the same time',
    args: ['--project', 'unit', 'histories', 'table-cache-storm'],
    env: { CONCURRENCY_RUNS: '300' },
    seeds: { from: 'CONCURRENCY_SEED', first: 1, each: 300, chunks: 2 },
  },
  {
    name: 'hostile images',
    args: ['--project', 'hostile', 'fuzz'],
    env: { HOSTILE_RUNS: '5000' },
    seeds: { from: 'HOSTILE_SEED', first: 1, each: 5000, chunks: 2 },
  },
  {
    name: 'hostile images in the programs, and all that once did harm at full size',
    args: [
      '--project',
      'hostile',
      'programs',
      'corpus',
      'processes',
      'probed',
      'locks',
      'wide-fields',
      'luks',
    ],
    env: { HOSTILE_RUNS: '5000' },
  },
  {
    name: 'hostile images, guided by coverage',
    args: ['--project', 'hostile', 'coverage'],
    env: { COVERAGE_RUNS: '20000' },
    seeds: { from: 'COVERAGE_SEED', first: 1, each: 1, chunks: 2 },
  },
  {
    name: 'zeroes that convert finds',
    args: ['--project', 'unit', 'packages/qemu-img-ts/src/convert'],
    env: { CONVERT_SEEDS: '20' },
    seeds: { from: 'CONVERT_SEED', first: 1, each: 20, chunks: 2 },
  },
  {
    name: 'disks of emulators, against arrays of bytes',
    args: ['--project', 'unit', 'packages/v86'],
    env: { VMBLOCK_LONG: '1' },
  },
  { name: 'guests in v86, and memory', args: ['--project', 'v86'], env: { VMBLOCK_LONG: '1' } },
]

/** The chunks of a part: `{ part, name, env, args }`. */
export function chunksOf({ name: part, args, env = {}, seeds }) {
  if (!seeds) return [{ part, name: part, env, args }]
  return Array.from({ length: seeds.chunks }, (_, index) => {
    const seed = seeds.first + index * seeds.each
    return {
      part,
      name: `${part}, from seed ${seed}`,
      env: { ...env, [seeds.from]: String(seed) },
      args,
    }
  })
}

/** The counts that tests printed: `counted 12 states: eager` adds 12 to `states`. */
export function countsIn(output) {
  const counts = {}
  for (const [, count, unit] of output.matchAll(/^counted (\d+) ([a-z ]+): /gm))
    counts[unit] = (counts[unit] ?? 0) + Number(count)
  return counts
}

function parse(argv) {
  const options = { words: [], again: false, list: false, jobs: Math.min(2, availableParallelism()) }
  const words = [...argv]
  while (words.length > 0) {
    const word = words.shift()
    if (word === '--help' || word === '-h') return undefined
    if (word === '--again') options.again = true
    else if (word === '--list') options.list = true
    else if (word === '-j') options.jobs = Number(words.shift())
    else if (word.startsWith('-')) throw new Failure(`option ${word} is not known\n${HELP}`)
    else options.words.push(word)
  }
  if (!Number.isInteger(options.jobs) || options.jobs < 1) throw new Failure('option -j needs a number')
  return options
}

/** The chunks that passed on this commit: results by name. Nothing is remembered for a tree with changes. */
class Memory {
  #file = at('.cache', 'test-long.json')
  #commit
  results = {}

  async open(forget) {
    const dirty = (await mustRun('git', 'git', ['status', '--porcelain'])).trim() !== ''
    this.#commit = dirty ? undefined : (await mustRun('git', 'git', ['rev-parse', 'HEAD'])).trim()
    if (forget || dirty) return
    try {
      const { commit, results } = readJson(this.#file)
      if (commit === this.#commit) this.results = results
    } catch {
      // No earlier run.
    }
  }

  keep(name, result) {
    this.results[name] = result
    if (this.#commit === undefined) return
    mkdirSync(dirname(this.#file), { recursive: true })
    writeFileSync(this.#file, JSON.stringify({ commit: this.#commit, results: this.results }))
  }
}

const counted = (counts) =>
  Object.entries(counts)
    .map(([unit, count]) => `${count.toLocaleString('en')} ${unit}`)
    .join(', ')

/** Runs a chunk. @returns whether it passed */
async function runChunk(chunk, memory) {
  const started = performance.now()
  const [node, vitest] = nodeTool('vitest/vitest.mjs')
  const env = { ...process.env, REQUIRE_QEMU: '1', NO_COLOR: '1', ...chunk.env }
  const args = [vitest, 'run', `--testTimeout=${TIMEOUT}`, '--maxWorkers=1', ...chunk.args]
  const { code, output } = await run(node, args, { env })
  const minutes = (performance.now() - started) / 60_000
  const counts = countsIn(output)
  console.log(
    `${code === 0 ? 'pass' : 'FAIL'}  ${chunk.name} (${minutes.toFixed(1)} min) ${counted(counts)}`.trimEnd(),
  )
  if (code === 0) memory.keep(chunk.name, { minutes, counts })
  else console.log(output.trimEnd())
  return code === 0
}

function printTable(chunks, results) {
  const rows = new Map()
  for (const { part, name } of chunks) {
    const row = rows.get(part) ?? { chunks: 0, minutes: 0, counts: {} }
    rows.set(part, row)
    const { minutes, counts } = results[name]
    row.chunks++
    row.minutes += minutes
    for (const [unit, count] of Object.entries(counts)) row.counts[unit] = (row.counts[unit] ?? 0) + count
  }
  console.log('\n| what | counted | minutes of one core |\n| --- | --- | --- |')
  for (const [part, { minutes, counts }] of rows)
    console.log(`| ${part} | ${counted(counts) || 'all'} | ${minutes.toFixed(1)} |`)
}

async function main() {
  const options = parse(process.argv.slice(2))
  if (!options) return void process.stdout.write(HELP)
  const isWanted = ({ name }) =>
    options.words.length === 0 || options.words.some((word) => name.includes(word))
  const chunks = PARTS.filter(isWanted).flatMap(chunksOf)
  if (chunks.length === 0) throw new Failure(`no part is called ${options.words.join(' or ')}`)
  if (options.list) return void console.log(chunks.map(({ name }) => name).join('\n'))
  await setup()
  await providePrograms()
  await provideGuest()
  const memory = new Memory()
  await memory.open(options.again)
  const started = performance.now()
  const waiting = []
  for (const chunk of chunks) {
    if (memory.results[chunk.name]) console.log(`pass  ${chunk.name} (before)`)
    else waiting.push(chunk)
  }
  const failed = []
  const worker = async () => {
    for (let chunk = waiting.shift(); chunk; chunk = waiting.shift())
      if (!(await runChunk(chunk, memory))) failed.push(chunk.name)
  }
  await Promise.all(Array.from({ length: options.jobs }, worker))
  if (failed.length > 0)
    throw new Failure(`${failed.length} of ${chunks.length} chunks failed: ${failed.join('; ')}`)
  printTable(chunks, memory.results)
  console.log(`\nall passed, ${((performance.now() - started) / 60_000).toFixed(1)} minutes`)
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await main().catch(fail)
