/** The scripts that guard the repository report what they exist to report. */
import { spawnSync } from 'node:child_process'
import { basename } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'
import { Copy } from './src/copy.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const scripts = new URL('../../scripts/', import.meta.url)

interface DocCheck {
  undocumented(path: string, text: string): string[]
}

describe('check-docs', async () => {
  const { undocumented } = (await import(new URL('check-docs.mjs', scripts).href)) as DocCheck

  it('names exported symbols without a doc comment', () => {
    const text =
      '/** A file. */\nimport x from "x"\nexport const a = 1\n// no doc\nexport function b() {}\nexport type C = 1\n'
    expect(undocumented('f.ts', text)).toEqual([
      "f.ts:3 'a' is exported without a doc comment",
      "f.ts:5 'b' is exported without a doc comment",
      "f.ts:6 'C' is exported without a doc comment",
    ])
  })

  it('takes one comment for all overloads, and asks none of what is not exported here', () => {
    const text =
      '/** A file. */\nexport { y } from "y"\nconst z = 1\n/** One. */\nexport function f(a: 1): 1\nexport function f(a: 2): 2\nexport function f(a: number) { return a }\n'
    expect(undocumented('f.ts', text)).toEqual([])
  })

  it('wants a file to begin with its idea', () => {
    expect(undocumented('f.ts', 'const a = 1\n')).toEqual([
      'f.ts:1 does not start with a comment that says its idea',
    ])
  })
})

describe('npm run check', async () => {
  interface Reached {
    readonly test: string
    readonly change: string
    readonly steps: number
  }
  const { testsNear, samples } = (await import(new URL('check.mjs', scripts).href)) as {
    testsNear(root: string, changed: readonly string[]): readonly Reached[]
    samples(root: string): readonly { readonly test: string }[]
  }
  const tree = new Copy([])
  afterAll(() => tree.remove())
  const entry = { '.': { import: { default: './dist/index.js' } } }
  tree.plant('packages/core/package.json', JSON.stringify({ name: '@vmblock/core', exports: entry }))
  tree.plant('packages/core/src/index.ts', "export { bits } from './base/bits.ts'\n")
  tree.plant('packages/core/src/base/bits.ts', 'export const bits = 8\n')
  tree.plant('packages/core/src/base/bits.test.ts', "import './bits.ts'\n")
  tree.plant('packages/core/src/later.test.ts', "export const later = () => import('./index.ts')\n")
  tree.plant('packages/core/src/long.test.ts', '// A long one, of something else.\n'.repeat(9))
  tree.plant('packages/core/src/page.browser.test.ts', "import './index.ts'\n")
  tree.plant('packages/driver/package.json', JSON.stringify({ name: '@vmblock/driver', exports: entry }))
  tree.plant('packages/driver/src/index.ts', "import type { bits } from '@vmblock/core'\n")
  tree.plant('packages/driver/src/driver.test.ts', "import './index.ts'\n")
  const near = (...changed: string[]) =>
    testsNear(
      tree.directory,
      changed.map((path) => tree.at(path)),
    ).map(({ test, change, steps }) =>
      [test, change, steps]
        .map(String)
        .map((text) => basename(text))
        .join(' '),
    )

  it('finds the tests that a change reaches, by types, later loading and other packages, nearest first', () => {
    expect(near('packages/core/src/base/bits.ts')).toEqual([
      'bits.test.ts bits.ts 1',
      'later.test.ts bits.ts 2',
      'driver.test.ts bits.ts 3',
    ])
  })

  it('runs a test that was changed, and none for what no test imports', () => {
    expect(near('packages/driver/src/driver.test.ts', 'README.md', 'packages/core/src/gone.ts')).toEqual([
      'driver.test.ts driver.test.ts 0',
    ])
  })

  it('samples the smallest test of each package', () => {
    expect(samples(tree.directory).map(({ test }) => basename(test))).toEqual([
      'bits.test.ts',
      'driver.test.ts',
    ])
  })

  it('says how it is called, and which commit it does not know', () => {
    expect(tree.run(fileURLToPath(new URL('check.mjs', scripts)), '--quick')).toMatchObject({
      status: 1,
      output: expect.stringContaining('usage: npm run check'),
    })
    expect(tree.run(fileURLToPath(new URL('check.mjs', scripts)), '--since', 'never')).toEqual({
      status: 1,
      output: 'vmblock: no commit is called never\n',
    })
  })
})

describe('npm test', () => {
  it('fails, with counts as its last line, when no test ran', () => {
    const { status, stdout } = spawnSync(
      process.execPath,
      ['scripts/test.mjs', '--project', 'repo', 'no-such-file'],
      {
        cwd: root,
        encoding: 'utf8',
        env: { ...process.env, VITEST: '', VMBLOCK_TEST_REPORT: 'nested.json' },
      },
    )
    expect(stdout.trimEnd().split('\n').at(-1)).toBe('0 passed, 1 failed, 0 skipped')
    expect(status).toBe(1)
  })
})

describe('npm run test:long', async () => {
  const { chunksOf, countsIn } = (await import(new URL('test-long.mjs', scripts).href)) as {
    chunksOf(part: object): { readonly name: string; readonly env: Record<string, string> }[]
    countsIn(output: string): Record<string, number>
  }

  it('cuts a part into chunks that start from seeds of their own', () => {
    const seeds = { from: 'SEED', first: 5, each: 10, chunks: 2 }
    expect(chunksOf({ name: 'x', args: [], env: { RUNS: '10' }, seeds })).toEqual([
      { part: 'x', name: 'x, from seed 5', args: [], env: { RUNS: '10', SEED: '5' } },
      { part: 'x', name: 'x, from seed 15', args: [], env: { RUNS: '10', SEED: '15' } },
    ])
    expect(chunksOf({ name: 'y', args: ['z'] })).toEqual([{ part: 'y', name: 'y', args: ['z'], env: {} }])
  })

  it('adds up what the tests say they counted', () => {
    const output =
      'counted 12 states: eager\nsomething\ncounted 30 states: lazy\n counted 1 states: x\ncounted 7 kills: y\n'
    expect(countsIn(output)).toEqual({ states: 42, kills: 7 })
  })
})
