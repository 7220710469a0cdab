/** Builds, tests and TypeScript take the same source for each entry that a package.json publishes. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'
import { expect, test } from 'vitest'
import { entriesOf, workspaceEntries } from '../../scripts/package-entries.mjs'

const root = fileURLToPath(new URL('../..', import.meta.url))
const entries = [...workspaceEntries(root)]
const elsewhere = workspaceEntries(root, 'default')

test.each(entries)('%s is found by TypeScript where it is built from', (name, source) => {
  const { config } = ts.readConfigFile(`${root}tsconfig.json`, ts.sys.readFile)
  const { options } = ts.parseJsonConfigFileContent(config, ts.sys, root)
  expect(existsSync(source)).toBe(true)
  const { resolvedModule } = ts.resolveModuleName(name, `${root}tests/repo/x.ts`, options, ts.sys)
  // Of an entry of two modules TypeScript finds one: both have the same types.
  expect([source, elsewhere.get(name)]).toContain(resolvedModule?.resolvedFileName)
})

test('there are entries, and each is declared for ES modules and CommonJS', () => {
  expect(entries.length).toBeGreaterThan(10)
  for (const name of readdirSync(`${root}packages`)) {
    const folder = `${root}packages/${name}`
    const { exports } = JSON.parse(readFileSync(`${folder}/package.json`, 'utf8')) as {
      readonly exports: Readonly<Record<string, Record<string, unknown>>>
    }
    for (const { subpath, condition, module } of entriesOf(folder)) {
      const declared = exports[subpath]!
      expect(condition === undefined ? declared : declared[condition]).toEqual({
        import: { types: `./dist/${module}.d.ts`, default: `./dist/${module}.js` },
        require: { types: `./dist/${module}.d.cts`, default: `./dist/${module}.cjs` },
      })
    }
  }
})

test('an entry of two modules is the one for Node.js there, and the other one elsewhere', () => {
  expect(workspaceEntries(root).get('vmblock')).toBe(`${root}packages/vmblock/src/node-js.ts`)
  expect(elsewhere.get('vmblock')).toBe(`${root}packages/vmblock/src/browser.ts`)
  const compression = `${root}packages/compression/src`
  expect(workspaceEntries(root).get('@vmblock/compression')).toBe(`${compression}/node-js/index.ts`)
  expect(elsewhere.get('@vmblock/compression')).toBe(`${compression}/index.ts`)
})
