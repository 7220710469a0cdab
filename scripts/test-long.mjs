// `npm run test:long`: the tests that sample in `npm test`, at length. Each part that passed is remembered for this
// commit, so that an interrupted run goes on where it was; `--again` forgets that.
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { setup } from './setup.mjs'
import { at, Failure, fail, mustRun, nodeTool, readJson, run } from './toolchain.mjs'

const MEMORY = at('.cache', 'test-long.json')

/** What runs, and how long it is made. */
const PARTS = [
  ['power cuts, qcow2', { CRASH_SCALE: '40' }, ['--project', 'unit', 'packages/qcow2/src/crash-states']],
  ['power cuts, QED', { CRASH_SCALE: '40' }, ['--project', 'unit', 'packages/qed/src/crash-states']],
  ['hostile images', { HOSTILE_RUNS: '20000' }, ['--project', 'hostile']],
  ['the real programs, and kills', { VMBLOCK_LONG: '1' }, ['--project', 'interop']],
]
/** A part that takes longer than this many milliseconds has failed. */
const TIMEOUT = 3_600_000

async function passedBefore() {
  const commit = (await mustRun('git', 'git', ['rev-parse', 'HEAD'])).trim()
  const dirty = (await mustRun('git', 'git', ['status', '--porcelain'])).trim() !== ''
  const forget = { commit, parts: [] }
  if (dirty || process.argv.includes('--again')) return forget
  try {
    const memory = readJson(MEMORY)
    return memory.commit === commit ? memory : forget
  } catch {
    return forget
  }
}

try {
  await setup()
  const memory = await passedBefore()
  let failed = 0
  for (const [name, settings, args] of PARTS) {
    if (memory.parts.includes(name)) {
      console.log(`pass  ${name} (before)`)
      continue
    }
    const started = performance.now()
    const [node, vitest] = nodeTool('vitest/vitest.mjs')
    const env = { ...process.env, ...settings }
    const { code, output } = await run(node, [vitest, 'run', `--testTimeout=${TIMEOUT}`, ...args], { env })
    const minutes = ((performance.now() - started) / 60_000).toFixed(1)
    const counted = [...output.matchAll(/: (\d+) states/g)].reduce((sum, [, count]) => sum + Number(count), 0)
    console.log(
      `${code === 0 ? 'pass' : 'FAIL'}  ${name} (${minutes} min${counted > 0 ? `, ${counted} states` : ''})`,
    )
    if (code === 0) {
      memory.parts.push(name)
      mkdirSync(dirname(MEMORY), { recursive: true })
      writeFileSync(MEMORY, JSON.stringify(memory))
    } else {
      failed++
      console.log(output.trimEnd())
    }
  }
  if (failed > 0) throw new Failure(`${failed} of ${PARTS.length} parts failed`)
} catch (error) {
  fail(error)
}
