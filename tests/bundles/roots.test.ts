/**
 * The root entries of the library run in browsers: they bundle without Node.js modules, and use none of its
 * globals.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { describe, expect, it } from 'vitest'
import { FOR_PAGES } from './src/bundle.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))

/** The root entry of a package; where Node.js has one of its own, that of browsers. */
const entryOf = (folder: string): string =>
  [`${root}packages/${folder}/src/index.ts`, `${root}packages/${folder}/src/browser.ts`].find((path) =>
    existsSync(path),
  )!

/** Bundles an entry for browsers, with every dependency; fails on anything that only Node.js resolves. */
async function bundle(source: string): Promise<string> {
  const { outputFiles } = await build({
    stdin: { contents: source, resolveDir: `${root}tests/bundles`, loader: 'ts' },
    bundle: true,
    write: false,
    format: 'esm',
    platform: 'browser',
    target: 'es2022',
    legalComments: 'none',
    logLevel: 'silent',
    tsconfig: `${root}tsconfig.json`,
    alias: FOR_PAGES,
  })
  return outputFiles[0]!.text
}

/** Returns the Node.js globals that an entry uses, dependencies included. */
async function globalsIn(folder: string): Promise<string[]> {
  const names = ['Buffer', 'process', 'global', 'require', '__dirname', '__filename']
  const { outputFiles } = await build({
    entryPoints: [entryOf(folder)],
    bundle: true,
    write: false,
    format: 'esm',
    platform: 'browser',
    target: 'es2022',
    minifySyntax: true,
    logLevel: 'silent',
    tsconfig: `${root}tsconfig.json`,
    alias: FOR_PAGES,
    define: Object.fromEntries(names.map((name) => [name, `__uses_${name}`])),
  })
  return names.filter((name) => outputFiles[0]!.text.includes(`__uses_${name}`))
}

/** Every package, but for the programs and what they share: what depends on nothing of theirs. */
const libraries = readdirSync(`${root}packages`).filter((folder) => {
  const { name, dependencies = {} } = JSON.parse(
    readFileSync(`${root}packages/${folder}/package.json`, 'utf8'),
  ) as { readonly name: string; readonly dependencies?: Readonly<Record<string, string>> }
  return name !== '@vmblock/cli' && !('@vmblock/cli' in dependencies)
})

describe('browser bundle', () => {
  it.each(libraries)('of %s has no module and no global of Node', async (folder) => {
    const text = await bundle(`export * from '${entryOf(folder)}'`)
    expect(text).not.toMatch(/["']node:/)
    expect(await globalsIn(folder)).toEqual([])
  })

  it('would fail on a module of Node', async () => {
    await expect(bundle("export { readFileSync } from 'node:fs'")).rejects.toThrow('node:fs')
  })
})
