// `pnpm bench`: sets up what is out of date, bundles the benchmarks, and becomes them.
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { setup } from './setup.mjs'
import { at, fail, root } from './toolchain.mjs'

try {
  await setup()
  const { build } = await import('esbuild')
  // Inside the package, so that the bundle finds koffi; one per process, since several may run at a time.
  const outdir = at('bench', 'dist', String(process.pid))
  process.once('exit', () => rmSync(outdir, { recursive: true, force: true }))
  await build({
    entryPoints: ['main.ts', 'growth/worker.ts'].map((name) => at('bench', 'src', name)),
    outdir,
    outExtension: { '.js': '.mjs' },
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'es2022',
    tsconfig: at('tsconfig.json'),
    // The compiler's paths lead to what pages load.
    alias: { '@vmblock/compression': at('packages', 'compression', 'src', 'node-js', 'index.ts') },
    logLevel: 'warning',
  })
  const { main } = await import(pathToFileURL(join(outdir, 'main.mjs')).href)
  // npm starts scripts in the root of the package; file names are relative to the directory npm was called
  // in.
  const { npm_lifecycle_event: event, INIT_CWD: from } = process.env
  if (event !== undefined && from) process.chdir(from)
  await main(root, process.argv.slice(2))
} catch (error) {
  fail(error)
}
