/** How a library package is built: ES modules and CommonJS, both of shared chunks, and declarations for both. */
import { fileURLToPath } from 'node:url'
import { transform } from 'esbuild'
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

/**
 * Each entry of package.json's `exports` becomes `dist/x.js`, `dist/x.cjs` and, in a run of their own (`--dts-only`),
 * `dist/x.d.ts` and `dist/x.d.cts`: declarations take ten times as long, and only publishing and installing need them.
 *
 * nanoevents and p-queue, which exist as ES modules alone, are part of the CommonJS build: Node 20.19 can `require` ES modules, but
 * bundlers and test runners that load CommonJS often cannot. `inside` are packages that become a part of both.
 */
export const library =
  ({ inside = [] }: { readonly inside?: readonly RegExp[] } = {}) =>
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
      noExternal: [...inside],
      plugins: [workerUrls, pureInitializers],
    }
    return [
      code,
      {
        ...code,
        noExternal: ['nanoevents', 'p-queue', ...inside],
        outExtension: () => ({ js: '.cjs' }),
        plugins: [workerUrls, toCommonJs],
      },
    ]
  }
