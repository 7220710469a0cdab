import { defineConfig } from 'tsup'
import { library } from '../../tsup.library.ts'

/**
 * The library as every package has it, and the program: bundled with everything it needs, because it is
 * started thousands of times and each module that has to be found costs time.
 */
export default defineConfig((options) => {
  const config = library({ index: 'src/index.ts' })
  const made = typeof config === 'function' ? config(options) : config
  if (options.dts) return made
  return [
    ...[made].flat(),
    {
      entry: { bin: 'src/bin.ts' },
      format: 'esm',
      target: 'es2022',
      platform: 'node',
      noExternal: [/.*/],
      splitting: false,
      minify: true,
      sourcemap: false,
      silent: true,
      outDir: 'dist',
    },
  ]
})
