// Projects that are bundled: a page by each bundler, in the browser of the tests, and a program for Node.js.
import { join } from 'node:path'
import { hasBrowser, visit } from './page.mjs'

const HTML = '<!doctype html><script type="module" src="./main.js"></script>'

/** What a page imports, as a project of each bundler, by the package with the worker of OPFS. */
const PROGRAMS = { '@vmblock/v86': 'page.mjs', vmblock: 'door-page.mjs' }

const VITE = `import { build } from 'vite'
await build({ configFile: false, logLevel: 'error', base: './', build: { outDir: 'out', target: 'es2022' } })`

const WEBPACK = `import webpack from 'webpack'
webpack(
  {
    mode: 'production',
    entry: './main.js',
    output: { path: import.meta.dirname + '/out', filename: 'main.js', module: true, chunkFormat: 'module' },
    experiments: { outputModule: true },
  },
  (error, stats) => {
    if (error) throw error
    if (stats.hasErrors()) throw new Error(stats.toString('errors-only'))
  },
)`

/** How each builds `main.js` into \`out\`: what is installed, and the script. */
const PAGES = {
  'esbuild 0.28': {
    others: { esbuild: '0.28.2' },
    // It does not follow `new URL` to the worker, which is therefore a second entry.
    script: (name) => `import { build } from 'esbuild'
await build({
  entryPoints: { main: 'main.js', 'opfs-worker': '${name}/opfs-worker' },
  bundle: true, splitting: true, format: 'esm', platform: 'browser', outdir: 'out', logLevel: 'error',
})`,
    html: 'out/index.html',
  },
  'Vite 8': { others: { vite: '8.4.0' }, script: () => VITE, html: 'index.html' },
  'webpack 5': { others: { webpack: '5.113.0' }, script: () => WEBPACK, html: 'out/index.html' },
}

const NODE_BUNDLE = `import { build } from 'esbuild'
for (const [format, outfile] of [['esm', 'out.mjs'], ['cjs', 'out.cjs']])
  await build({ entryPoints: ['memory.mjs'], bundle: true, platform: 'node', format, outfile, logLevel: 'error' })`

/** The rows of the table. @param equal throws unless what was said is what is expected */
export const bundlers = (equal, expected) => [
  ...Object.entries(PAGES).flatMap(([name, { others, script, html }]) =>
    Object.entries(PROGRAMS).map(([ours, source]) => ({
      name: `a page with ${ours}, by ${name}`,
      packages: [ours],
      others,
      missing: () => (hasBrowser() ? undefined : 'there is no Chromium'),
      async run({ folder, write, program, node }) {
        program(source, 'main.js')
        write('build.mjs', script(ours))
        write(html, HTML)
        await node('build.mjs')
        equal(await visit(join(folder, 'out')), expected)
      },
    })),
  ),
  {
    name: 'a program for Node.js, by esbuild',
    packages: ['@vmblock/block-core', '@vmblock/qcow2'],
    others: { esbuild: '0.28.2' },
    async run({ write, program, node }) {
      program('memory.mjs')
      write('build.mjs', NODE_BUNDLE)
      await node('build.mjs')
      equal(await node('out.mjs'), expected)
      equal(await node('out.cjs'), expected)
    },
  },
]
