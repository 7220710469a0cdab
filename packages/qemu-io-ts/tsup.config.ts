import { defineConfig, type Options } from 'tsup'
import { library } from '../../tsup.library.ts'

/** The process around the program, and the program in one file: `bin.ts` says why. */
const PROGRAM: Options = {
  entry: { program: 'src/program.ts' },
  format: 'cjs',
  outExtension: () => ({ js: '.cjs' }),
  target: 'es2022',
  platform: 'node',
  tsconfig: '../../tsconfig.json',
  noExternal: [/.*/],
  splitting: false,
  minify: true,
  sourcemap: false,
  silent: true,
}

/** The library as every package has it, and the program with everything it needs. */
export default defineConfig((options) => {
  const config = library({ index: 'src/index.ts' })
  const made = [typeof config === 'function' ? config(options) : config].flat() as Options[]
  if (options.dts) return made
  return [
    ...made,
    PROGRAM,
    { ...PROGRAM, entry: { bin: 'src/bin.ts' }, format: 'esm', outExtension: () => ({ js: '.js' }) },
  ]
})
