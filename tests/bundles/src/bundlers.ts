/**
 * The ways to build applications for browsers: each makes `main.js` of the page, and includes the worker of
 * the disk.
 */
import { cpSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import commonjs from '@rollup/plugin-commonjs'
import nodeResolve from '@rollup/plugin-node-resolve'
import { build as esbuild } from 'esbuild'
import { rollup } from 'rollup'
import { build as vite } from 'vite'
import webpack from 'webpack'

const PAGE = fileURLToPath(new URL('./page/main.js', import.meta.url))
const WORKER = '@vmblock/v86/opfs-worker'
const HERE = fileURLToPath(new URL('..', import.meta.url))

/** Builds the page into a folder. */
export type Bundler = (folder: string) => Promise<unknown>

const bundle = (folder: string, entryPoints: Readonly<Record<string, string>>): Promise<unknown> =>
  esbuild({
    entryPoints: { ...entryPoints },
    absWorkingDir: HERE,
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'browser',
    outdir: folder,
    logLevel: 'error',
    tsconfigRaw: {},
  })

/** The bundlers by name. */
export const BUNDLERS: Readonly<Record<string, Bundler>> = {
  // These two keep `new URL('./opfs-worker.js', import.meta.url)`: the worker is a second entry beside the
  // page's.
  esbuild: (folder) => bundle(folder, { main: PAGE, 'opfs-worker': WORKER }),
  async rollup(folder) {
    const plugins = [nodeResolve({ browser: true, rootDir: HERE }), commonjs()]
    const built = await rollup({ input: { main: PAGE, 'opfs-worker': WORKER }, plugins })
    await built.write({ dir: folder, format: 'es' })
    await built.close()
  },
  // These two find the worker by themselves.
  vite: (folder) =>
    vite({
      root: HERE,
      configFile: false,
      logLevel: 'error',
      base: './',
      build: {
        outDir: folder,
        emptyOutDir: false,
        target: 'es2022',
        rollupOptions: { input: PAGE, output: { entryFileNames: 'main.js' } },
      },
    }),
  webpack: (folder) =>
    new Promise((resolve, reject) =>
      webpack(
        {
          mode: 'production',
          context: HERE,
          entry: PAGE,
          output: { path: folder, filename: 'main.js', module: true, chunkFormat: 'module' },
          experiments: { outputModule: true },
          // The page is built of what is published: the paths of our compiler lead to sources.
          resolve: { tsconfig: false },
          optimization: { minimize: false },
        },
        (error, stats) =>
          error || stats?.hasErrors()
            ? reject(error ?? new Error(stats?.toString('errors-only')))
            : resolve(stats),
      ),
    ),
}

/** Builds the page without its worker. */
export const withoutWorker: Bundler = (folder) => bundle(folder, { main: PAGE })

/** Copies the published script of the worker, which needs no bundler. */
export const copyWorker = (folder: string, name: string): void =>
  cpSync(
    createRequire(import.meta.url)
      .resolve(WORKER)
      .replace(/\.cjs$/, '.js'),
    join(folder, name),
  )
