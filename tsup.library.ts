/** How a library package is built: ES modules and CommonJS, both of shared chunks, and declarations for both. */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Plugin as EsbuildPlugin, transform } from 'esbuild'
import type { Options } from 'tsup'
import ts from 'typescript'
import { entriesOf } from './scripts/package-entries.mjs'

const ROOT_TSCONFIG = fileURLToPath(new URL('./tsconfig.json', import.meta.url))

/** The oldest runtime that is supported; browsers of 2023 run the same syntax. */
const TARGET = 'es2022'

type Plugin = NonNullable<Options['plugins']>[number]

/**
 * Turns the ES modules of a build, one by one, into CommonJS. Splitting is what makes all entries of a package share one
 * `BlockError` class; tsup's own splitting for CommonJS also rewrites `?.` and class fields into slow helpers.
 */
const toCommonJs: Plugin = {
  name: 'to-commonjs',
  async renderChunk(code, { path }) {
    if (!path.endsWith('.cjs')) return
    const result = await transform(code, {
      format: 'cjs',
      platform: 'node',
      target: TARGET,
      // `require` for these, too: test runners that load CommonJS often know no other way.
      supported: { 'dynamic-import': false },
      sourcemap: 'external',
      sourcefile: path,
    })
    return { code: result.code, map: result.map }
  },
}

/**
 * A worker is named by the URL of its source, which bundlers and test runners follow; what is published is JavaScript.
 * It must be an entry of the package, in the folder of the one that names it.
 */
const workerUrls: Plugin = {
  name: 'worker-urls',
  renderChunk: (code, { map }) => ({
    code: code.replace(/(new URL\("\.\/[\w-]+)\.ts(", import\.meta\.url\))/g, '$1.js$2'),
    map,
  }),
}

/**
 * Shared files that are imported for nothing but their effects, which they do not have: bundlers would load at start what
 * any late part of an application uses of them. Lines stay where they are, for source maps.
 */
const noBareImports: Plugin = {
  name: 'no-bare-imports',
  renderChunk: (code, { map }) => ({ code: code.replace(/^import "[./]+chunk-\w+\.c?js";$/gm, ''), map }),
}

/** Whether evaluating an expression calls anything. */
function calls(node: ts.Node): boolean {
  if (ts.isFunctionLike(node) || ts.isClassLike(node)) return false
  return ts.isCallExpression(node) || ts.isNewExpression(node) || ts.forEachChild(node, calls) === true
}

/**
 * Says of what is made while a module is loaded that it may be left out: drivers, option tables, layouts. The packages
 * promise to have no side effects (`sideEffects`), but modules that share a file have only one such promise, and bundlers
 * would keep all that a file calls.
 */
const pureInitializers: Plugin = {
  name: 'pure-initializers',
  renderChunk(code, { path, map }) {
    if (!/\.c?js$/.test(path)) return
    const file = ts.createSourceFile(path, code, ts.ScriptTarget.ES2022)
    const initializers = file.statements
      .filter(ts.isVariableStatement)
      .flatMap(({ declarationList }) => declarationList.declarations)
      .flatMap(({ initializer }) => (initializer && calls(initializer) ? [initializer] : []))
    let [marked, done] = ['', 0]
    for (const { pos, end } of initializers) {
      marked += `${code.slice(done, pos)} /* @__PURE__ */ (() => (${code.slice(pos, end).trim()}))()`
      done = end
    }
    return { code: marked + code.slice(done), map }
  },
}

/** The nearest folder above a file of node_modules that is a package. */
function packageAbove(file: string): string {
  const folder = dirname(file)
  const manifest = join(folder, 'package.json')
  // Some have a manifest without a name in a folder of their build.
  if (existsSync(manifest) && 'name' in JSON.parse(readFileSync(manifest, 'utf8'))) return folder
  return packageAbove(folder)
}

/** A package's name and version, and the text of its licence. */
function licenceOf(folder: string): string {
  const { name, version } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as {
    readonly name: string
    readonly version: string
  }
  const file = readdirSync(folder).find((entry) => /^licen[cs]e([.-]|$)/i.test(entry))
  if (file === undefined) throw new Error(`${name} has no licence that could be published with its code`)
  return `${name} ${version}\n\n${readFileSync(join(folder, file), 'utf8').trim()}\n`
}

/** A source that is the code of other authors, translated; NOTICES.txt lies beside it. */
const EMBEDDED = 'zstd-binary.ts'

/**
 * Publishes with the code of other authors what they ask for: `dist/NOTICES.txt` has the licence of every package that
 * became a part of a build. All builds of a package share one plugin, for they write the same file.
 */
export function licences(): EsbuildPlugin {
  const found = new Set<string>()
  const embedded = new Set<string>()
  return {
    name: 'licences',
    setup({ onEnd, initialOptions: { absWorkingDir = process.cwd() } }) {
      onEnd(({ metafile }) => {
        for (const input of Object.keys(metafile?.inputs ?? {}))
          if (/[\\/]node_modules[\\/]/.test(input)) found.add(packageAbove(join(absWorkingDir, input)))
          else if (input.endsWith(EMBEDDED)) embedded.add(join(absWorkingDir, dirname(input), 'NOTICES.txt'))
        if (found.size + embedded.size === 0) return
        const texts = [
          ...[...found].map(licenceOf),
          ...[...embedded].map((file) => readFileSync(file, 'utf8')),
        ].sort()
        mkdirSync('dist', { recursive: true })
        writeFileSync(join('dist', 'NOTICES.txt'), texts.join(`\n${'-'.repeat(80)}\n\n`))
      })
    },
  }
}

/** What differs between packages. */
interface LibraryOptions {
  /** Packages that become a part of both builds. */
  readonly inside?: readonly RegExp[]
  /** The plugin that the other builds of the package have, if there are others. */
  readonly notices?: EsbuildPlugin
}

/**
 * Each entry of package.json's `exports` becomes `dist/x.js`, `dist/x.cjs` and, in a run of their own (`--dts-only`),
 * `dist/x.d.ts` and `dist/x.d.cts`: declarations take ten times as long, and only publishing and installing need them.
 *
 * nanoevents and p-queue, which exist as ES modules alone, are part of the CommonJS build: Node 20.19 can `require` ES modules, but
 * bundlers and test runners that load CommonJS often cannot. idb is part of both: it is small, and only pages use it, while
 * dependencies are installed on servers, too.
 */
export const library =
  ({ inside = [], notices = licences() }: LibraryOptions = {}) =>
  ({ dts }: Options): Options | Options[] => {
    const entry = Object.fromEntries(entriesOf(process.cwd()).map(({ module, source }) => [module, source]))
    const shared: Options = { entry, tsconfig: ROOT_TSCONFIG, silent: true }
    // What is marked @internal, packages share with themselves alone.
    const declarations = { only: true, entry, compilerOptions: { stripInternal: true } }
    if (dts) return { ...shared, format: ['esm', 'cjs'], dts: declarations }
    const code: Options = {
      ...shared,
      format: 'esm',
      target: TARGET,
      platform: 'neutral',
      sourcemap: true,
      splitting: true,
      noExternal: ['idb', ...inside],
      plugins: [workerUrls, noBareImports, pureInitializers],
      esbuildPlugins: [notices],
    }
    return [
      code,
      {
        ...code,
        noExternal: ['idb', 'nanoevents', 'p-queue', ...inside],
        outExtension: () => ({ js: '.cjs' }),
        plugins: [workerUrls, toCommonJs],
      },
    ]
  }
