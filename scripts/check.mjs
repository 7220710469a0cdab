// `npm run check`: lint, types, and the unit tests that stand nearest to what was changed; all at the same time. It
// prints which tests it runs, why these, and how many others the change can reach. All tests are `npm test`.
import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import ts from 'typescript'
import { CHECKS, passes } from './checks.mjs'
import { workspaceEntries } from './package-entries.mjs'
import { filesBelow } from './stamps.mjs'
import { at, Failure, fail, mustRun, nodeTool, readJson, run } from './toolchain.mjs'

const HELP = `usage: npm run check -- [options]
  --all       all unit tests that the change can reach, however far away
  --since X   what was changed since this commit (default: the last one that this command passed on, or HEAD)
`

/** Test files of a run: a few seconds on two cores. */
const NEAREST = 3

const STAMP = at('.cache', 'check.json')

const git = async (...args) => (await mustRun('git', 'git', args)).split('\0').filter(Boolean)

/** The commit that changes are counted from. */
async function baseOf(wanted) {
  const commit = async (name) =>
    (await run('git', ['rev-parse', '--verify', '--quiet', `${name}^{commit}`])).output.trim()
  if (wanted !== undefined) {
    const named = await commit(wanted)
    if (named === '') throw new Failure(`no commit is called ${wanted}`)
    return named
  }
  const passed = existsSync(STAMP) ? readJson(STAMP).commit : undefined
  return (passed && (await commit(passed))) || commit('HEAD')
}

/** Files that differ from a commit, are new, or are gone; relative to the repository. */
const changedSince = async (commit) => [
  ...(await git('diff', '--name-only', '-z', '--no-renames', commit)),
  ...(await git('ls-files', '--others', '--exclude-standard', '-z')),
]

/** By file of a package the files that import it, directly: types, `export ... from` and `import()` count, too. */
function importersOf(root, files) {
  const entries = workspaceEntries(root)
  const importers = new Map()
  for (const file of files) {
    const { importedFiles } = ts.preProcessFile(readFileSync(file, 'utf8'), true, true)
    for (const { fileName } of importedFiles) {
      const target = fileName.startsWith('.') ? join(dirname(file), fileName) : entries.get(fileName)
      if (target === undefined) continue
      if (!importers.has(target)) importers.set(target, new Set())
      importers.get(target).add(file)
    }
  }
  return importers
}

/**
 * The unit tests that a change can reach, nearest first: a changed test itself, then tests that import what was changed,
 * then those that import what imports it, and so on; of equally near ones, those of the same package and folder first.
 *
 * @param changed full paths
 * @returns `{ test, change, steps }`, where `steps` counts imports
 */
export function testsNear(root, changed) {
  const files = filesBelow(join(root, 'packages')).filter(
    (file) =>
      /[\\/]src[\\/].*\.ts$/.test(file) && !/[\\/](node_modules|dist)[\\/]|\.browser\.test\.ts$/.test(file),
  )
  const importers = importersOf(root, files)
  const found = new Map(changed.map((file) => [file, { change: file, steps: 0 }]))
  for (const [file, { change, steps }] of found)
    for (const importer of importers.get(file) ?? [])
      if (!found.has(importer)) found.set(importer, { change, steps: steps + 1 })
  const apart = (a, b) => {
    const [left, right] = [a, b].map((path) => path.split(/[\\/]/))
    const same = left.findIndex((part, index) => part !== right[index])
    return left.length + right.length - 2 * same
  }
  return [...found]
    .filter(([file]) => file.endsWith('.test.ts') && files.includes(file))
    .map(([test, { change, steps }]) => ({
      test,
      change,
      steps,
      apart: test === change ? 0 : apart(test, change),
    }))
    .sort((a, b) => a.steps - b.steps || a.apart - b.apart || (a.test < b.test ? -1 : 1))
    .map(({ test, change, steps }) => ({ test, change, steps }))
}

/** The smallest test file of each package, which is quick: for a clone in which nothing was checked yet. */
export function samples(root) {
  const tests = filesBelow(join(root, 'packages'))
    .filter(
      (file) =>
        /[\\/]src[\\/].*(?<!\.browser)\.test\.ts$/.test(file) && !/[\\/](node_modules|dist)[\\/]/.test(file),
    )
    .map((test) => ({ test, bytes: statSync(test).size, folder: test.slice(root.length).split(/[\\/]/)[2] }))
    .sort((a, b) => a.bytes - b.bytes)
  return tests.filter(({ folder }, index) => tests.findIndex((other) => other.folder === folder) === index)
}

const relative = (path) => path.slice(at().length + 1).replaceAll('\\', '/')

function why({ change, steps }) {
  if (change === undefined) return 'one of each package, for the first check in this clone'
  if (steps === 0) return 'was changed'
  return steps === 1 ? `imports ${relative(change)}` : `${steps} imports away from ${relative(change)}`
}

/** Runs unit tests, and shows what vitest says. @returns whether all passed */
function unit(tests) {
  const [node, vitest] = nodeTool('vitest/vitest.mjs')
  const args = [vitest, 'run', '--project', 'unit', ...tests.map(({ test }) => relative(test))]
  return new Promise((resolve) => {
    const child = spawn(node, args, { cwd: at(), stdio: ['ignore', 'inherit', 'inherit'] })
    child.on('error', () => resolve(false))
    child.on('close', (code) => resolve(code === 0))
  })
}

function tellTests(chosen, reached, base) {
  const since = base.slice(0, 9)
  if (chosen.length === 0)
    return console.log(
      `unit tests: none; nothing that they import was changed since ${since} (npm test runs all tests)`,
    )
  console.log(`unit tests, of what was changed since ${since}:`)
  for (const each of chosen) console.log(`  ${relative(each.test)}: ${why(each)}`)
  const others = reached.filter(({ test }) => !chosen.some((each) => each.test === test)).length
  if (others > 0)
    console.log(`  not run: ${others} test files further away (npm run check -- --all runs these, too)`)
}

async function main(argv) {
  const all = argv.includes('--all')
  const words = argv.filter((word) => word !== '--all')
  if (words.length > 0 && !(words.length === 2 && words[0] === '--since')) throw new Failure(HELP.trimEnd())
  const base = await baseOf(words[1])
  const reached = testsNear(
    at(),
    (await changedSince(base)).map((file) => at(...file.split('/'))),
  )
  const near = all ? reached : reached.slice(0, NEAREST)
  const further = samples(at()).filter(({ test }) => !near.some((each) => each.test === test))
  const chosen = existsSync(STAMP) ? near : [...near, ...further]
  tellTests(chosen, reached, base)
  const inTurn = async (...steps) => {
    let passed = true
    for (const step of steps) passed = (await step()) && passed
    return passed
  }
  // Two at a time, for two cores: what is slow on its own beside what is slow together.
  const [lint, ...others] = CHECKS
  const results = await Promise.all([
    inTurn(...others.map((check) => () => passes(check))),
    inTurn(
      () => passes(lint),
      () => chosen.length === 0 || unit(chosen),
    ),
  ])
  if (results.includes(false)) {
    process.exitCode = 1
    return
  }
  mkdirSync(dirname(STAMP), { recursive: true })
  const [commit] = await git('rev-parse', 'HEAD')
  writeFileSync(STAMP, JSON.stringify({ commit: commit.trim() }))
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href)
  await main(process.argv.slice(2)).catch(fail)
