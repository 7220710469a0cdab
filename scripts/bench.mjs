// `pnpm bench`: sets up what is not current, bundles the benchmarks, and becomes them.
import { rmSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import { provideQemu } from './qemu-utils.mjs'
import { setup } from './setup.mjs'
import { at, fail, root } from './toolchain.mjs'

try {
  await setup()
  await provideQemu()
  const { build } = await import('esbuild')
  const outdir = at('.cache', 'bench')
  rmSync(outdir, { recursive: true, force: true })
  await build({
    entryPoints: [at('bench', 'src', 'main.ts')],
    outdir,
    outExtension: { '.js': '.mjs' },
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'es2022',
    tsconfig: at('tsconfig.json'),
    logLevel: 'warning',
    // What is bundled may be CommonJS, and ask for modules of Node by `require`.
    banner: {
      js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);",
    },
  })
  const { main } = await import(pathToFileURL(at('.cache', 'bench', 'main.mjs')).href)
  // npm starts scripts in the root of the package; names of files count from where npm was called.
  const { npm_lifecycle_event: event, INIT_CWD: from } = process.env
  if (event !== undefined && from) process.chdir(from)
  await main(root, process.argv.slice(2))
} catch (error) {
  fail(error)
}
