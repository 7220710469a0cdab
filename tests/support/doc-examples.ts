/**
 * The examples of the documentation as modules: `virtual:doc-examples/node` and `/page` list them, with what runs them.
 * A plugin, so that an example runs in Node.js and in a page alike, on the sources and with the files beside it.
 */
import { existsSync, readFileSync } from 'node:fs'
import { transform } from 'esbuild'
import type { Plugin } from 'vitest/config'
import { type Block, type Example, examplesOf, fixtureOf, pages, ROOT, type Where } from './doc-blocks.ts'

/** Pages whose examples have tests of their own, since they are parts of a driver, or functions that a test calls. */
export const OWN_TESTS: Readonly<Record<string, string>> = {
  'docs/filters-and-observers.md': 'tests/repo/filters-and-observers.test.ts',
  'docs/jobs.md': 'tests/repo/jobs.test.ts',
  'docs/writing-a-driver.md': 'tests/repo/writing-a-driver.test.ts',
}

/** All examples that run in one of these places. */
export const allExamples = (...places: readonly Where[]): readonly Example[] =>
  pages()
    .filter((page) => !(page in OWN_TESTS))
    .flatMap((page) => examplesOf(page))
    .filter(({ where }) => places.includes(where))

const PRINTED = `${ROOT}tests/repo/src/printed.ts`
const LIST = 'virtual:doc-examples/'
const ONE = 'virtual:doc-example/'

/** A line that prints, with what it prints behind it. */
const PRINTS = /^(\s*)console\.log\((.*)\) \/\/ (.+)$/

/** The code of a block in which each `console.log` says which block it is of, and what it should print. */
const observed = ({ code }: Block, index: number): string =>
  code
    .split('\n')
    .map((line) => {
      const [, indent = '', values = '', expected] = PRINTS.exec(line) ?? []
      if (expected !== undefined)
        return `${indent}print(${index}, ${JSON.stringify(expected.trim())}, ${values})`
      return line
        .replace(/\bconsole\.log\(/g, `print(${index}, undefined, `)
        .replace(/\bconsole\.(warn|error)\(/g, 'print(-1, undefined, ')
    })
    .join('\n')

/**
 * The names that an example uses and does not make, of those that its page's fixture exports.
 * @param exported names
 */
export const borrowed = (code: string, exported: readonly string[]): readonly string[] =>
  exported.filter((name) => {
    if (!new RegExp(`(?<![\\w'"])(?<!(?<!\\.\\.)\\.)${name}\\b(?!')`).test(code)) return false
    return !new RegExp(`\\b(const|let|class|function|as) ${name}\\b|^import .*\\b${name}\\b`, 'm').test(code)
  })

/** The names that a fixture exports for the code of its page. */
export function exportsOf(page: string): readonly string[] {
  const fixture = fixtureOf(page)
  if (!existsSync(fixture)) return []
  const text = readFileSync(fixture, 'utf8')
  const declared = /^export (?:async |declare )?(?:const|function|class|let) (\w+)/gm
  const handedOn = /^export \{(.*)\}/gm
  return [
    ...[...text.matchAll(declared)].map(([, name]) => name!),
    ...[...text.matchAll(handedOn)].flatMap(([, names]) => names!.split(',').map((name) => name.trim())),
  ].filter((name) => name !== 'prepare')
}

/** What precedes the code of an example: the names that its page's fixture lends it, on one line. */
export function preludeOf(example: Example, fixture = fixtureOf(example.page)): string {
  const code = example.blocks.map((block) => block.code).join('\n')
  const names = borrowed(code, exportsOf(example.page))
  return names.length === 0 ? '' : `import { ${names.join(', ')} } from ${JSON.stringify(fixture)};`
}

async function moduleOf(example: Example, target: string): Promise<string> {
  const body = example.blocks.map((block, index) => observed(block, index)).join('\n')
  const { code } = await transform(`${preludeOf(example)}\n${body}`, { loader: 'ts', format: 'esm', target })
  return `import { print } from ${JSON.stringify(PRINTED)}\n${code}`
}

const listOf = (where: Where): string => {
  const entries = allExamples(where).map(({ page, index, blocks, output }) => {
    const line = blocks[0]!.line
    const expected = blocks.map((block) => output.get(block) ?? null)
    const fixture = fixtureOf(page)
    const load = existsSync(fixture) ? `() => import(${JSON.stringify(fixture)})` : '() => ({})'
    const name = `${page}/${index}`
    return `{ page: ${JSON.stringify(page)}, line: ${line}, output: ${JSON.stringify(expected)}, fixture: ${load},
      codes: ${JSON.stringify(blocks.map(({ code }) => code))}, run: () => import(${JSON.stringify(`${ONE}${where}/${name}`)}) }`
  })
  return `export const examples = [${entries.join(',\n')}]`
}

/** The plugin. */
export function docExamples(): Plugin {
  return {
    name: 'doc-examples',
    enforce: 'pre',
    resolveId: (id) => (id.startsWith(LIST) || id.startsWith(ONE) ? `\0${id}` : undefined),
    async load(id) {
      if (id.startsWith(`\0${LIST}`)) return listOf(id.slice(LIST.length + 1) as Where)
      if (!id.startsWith(`\0${ONE}`)) return undefined
      const [, where, page, index] = /^(\w+)\/(.+)\/(\d+)$/.exec(id.slice(ONE.length + 1))!
      const example = examplesOf(page!)[Number(index)]!
      return moduleOf(example, where === 'page' ? 'es2022' : 'node20')
    },
  }
}
