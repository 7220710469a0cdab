/** Builds, tests and TypeScript take the same source for each entry that a package.json publishes. */
import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'
import { expect, test } from 'vitest'
import { workspaceEntries } from '../../scripts/package-entries.mjs'

const root = fileURLToPath(new URL('../..', import.meta.url))
const entries = [...workspaceEntries(root)]

test.each(entries)('%s is found by TypeScript where it is built from', (name, source) => {
  const { config } = ts.readConfigFile(`${root}tsconfig.json`, ts.sys.readFile)
  const { options } = ts.parseJsonConfigFileContent(config, ts.sys, root)
  expect(existsSync(source)).toBe(true)
  const { resolvedModule } = ts.resolveModuleName(name, `${root}tests/repo/x.ts`, options, ts.sys)
  expect(resolvedModule?.resolvedFileName).toBe(source)
})

test('there are entries, and each is declared for ES modules and CommonJS', () => {
  expect(entries.length).toBeGreaterThan(10)
  for (const [name] of entries) {
    const [, folder = '', ...subpath] = name.split('/')
    const { exports } = JSON.parse(readFileSync(`${root}packages/${folder}/package.json`, 'utf8')) as {
      readonly exports: Readonly<Record<string, { import: unknown; require: unknown }>>
    }
    const { import: esm, require: cjs } = exports[['.', ...subpath].join('/')]!
    const { default: module } = esm as { readonly default: string }
    const stem = module.replace(/\.js$/, '')
    expect(esm).toEqual({ types: `${stem}.d.ts`, default: `${stem}.js` })
    expect(cjs).toEqual({ types: `${stem}.d.cts`, default: `${stem}.cjs` })
  }
})
