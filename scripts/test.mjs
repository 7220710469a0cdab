// `npm test`: sets up, checks the tree (lint, types, doc comments, links, packed packages, API reference), runs every
// test, and ends with one line of counts. Exit code 0 means that at least one test ran and none failed.
import { spawn } from 'node:child_process'
import { rmSync } from 'node:fs'
import { CHECKS, PUBLISHED, passes } from './checks.mjs'
import { provideGuest } from './guest.mjs'
import { providePrograms } from './programs.mjs'
import { setup } from './setup.mjs'
import { at, Failure, nodeTool, readJson } from './toolchain.mjs'

const REPORT = at('.cache', process.env.VMBLOCK_TEST_REPORT ?? 'vitest.json')
const MOST_NAMES = 40

const counts = { passed: 0, failed: 0, skipped: 0 }

function count(result) {
  for (const key of Object.keys(counts)) counts[key] += result[key] ?? 0
}

/** Runs vitest with our output streams; resolves to its exit code. */
function vitest(args) {
  rmSync(REPORT, { force: true })
  const [node, program] = nodeTool('vitest/vitest.mjs')
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${REPORT}`]
  return new Promise((resolve) => {
    const child = spawn(node, [program, 'run', ...reporters, ...args], {
      cwd: at(),
      stdio: ['ignore', 'inherit', 'inherit'],
    })
    child.on('error', (error) => {
      console.log(`vitest: ${error.message}`)
      resolve(1)
    })
    child.on('close', (code) => resolve(code ?? 1))
  })
}

/** Adds up vitest's own report. Failures without a failing test (a file that does not load) count too. */
function readReport(code) {
  let report
  try {
    report = readJson(REPORT)
  } catch {
    console.log('FAIL  vitest ended without a report')
    return { failed: 1 }
  }
  const { numPassedTests: passed, numFailedTests: failedTests, numPendingTests, numTodoTests } = report
  const broken = report.testResults.filter(
    ({ status, assertionResults }) =>
      status === 'failed' && !assertionResults.some((test) => test.status === 'failed'),
  )
  for (const { name } of broken) console.log(`FAIL  ${name} did not run`)
  tellNotPassed(report)
  let failed = failedTests + broken.length
  if (passed + failed === 0) {
    console.log('FAIL  no test ran')
    failed = 1
  }
  if (code !== 0 && failed === 0) {
    console.log(`FAIL  vitest ended with exit code ${code}, though no test failed`)
    failed = 1
  }
  return { passed, failed, skipped: numPendingTests + numTodoTests }
}

/** Lists the tests that did not pass, failed ones last, where the end of a long log shows them. */
function tellNotPassed({ testResults }) {
  tellTests('Skipped', testResults, (status) => status !== 'passed' && status !== 'failed')
  tellTests('Failed', testResults, (status) => status === 'failed')
}

function tellTests(title, testResults, isMeant) {
  const names = testResults.flatMap(({ name, assertionResults }) =>
    assertionResults
      .filter(({ status }) => isMeant(status))
      .map(({ fullName, failureMessages }) => {
        const [reason] = failureMessages?.[0]?.split('\n') ?? []
        return `${name.slice(at().length + 1)}: ${fullName}${reason ? `\n      ${reason}` : ''}`
      }),
  )
  if (names.length === 0) return
  console.log(`\n${title} (${names.length}):`)
  for (const name of names.slice(0, MOST_NAMES)) console.log(`  ${name}`)
  if (names.length > MOST_NAMES) console.log(`  and ${names.length - MOST_NAMES} more`)
}

try {
  await setup()
  await providePrograms()
  await provideGuest()
  const selected = process.argv.slice(2)
  if (selected.length === 0)
    for (const check of [...CHECKS, ...PUBLISHED])
      count((await passes(check)) ? { passed: 1 } : { failed: 1 })
  count(readReport(await vitest(selected)))
} catch (error) {
  console.log(`FAIL  ${error instanceof Failure ? error.message : (error?.stack ?? error)}`)
  count({ failed: 1 })
}
process.exitCode = counts.failed === 0 ? 0 : 1
process.stdout.write(`\n${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped\n`)
