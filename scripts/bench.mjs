// `pnpm bench`: sets up what is not current, bundles the benchmarks, and becomes them.
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { setup } from './setup.mjs'
import { at, fail, root } from './toolchain.mjs'

try {
  await setup()
  const { build } = await import('esbuild')
  // Inside the package, so that what is bundled finds koffi; of its own, since several may run at a time.
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
    logLevel: 'warning',
  })
  const { main } = await import(pathToFileURL(join(outdir, 'main.mjs')).href)
  // npm starts scripts in the root of the package; names of files count from where npm was called.
  const { npm_lifecycle_event: event, INIT_CWD: from } = process.env
  if (event !== undefined && from) process.chdir(from)
  await main(root, process.argv.slice(2))
} catch (error) {
  fail(error)
}
