/** How a program is built: the library that every package is, and beside it the program with everything it needs. */
import { defineConfig, type Options } from 'tsup'
import { lateBuiltins } from './scripts/late-builtins.mjs'
import { library, licences } from './tsup.library.ts'

/** All in one file: one is found and compiled faster than several. CommonJS, for its compiled code can be kept. */
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

/** The process around the program, which loads it. CommonJS, too: Node starts ES modules five milliseconds later. */
const BIN: Options = { ...PROGRAM, entry: { bin: 'src/bin.ts' } }

/** The configuration of a program's package: `dist/index.*`, `dist/program.cjs` and `dist/bin.cjs`. */
export const program = () =>
  defineConfig((options) => {
    const notices = licences()
    const made = [library({ notices })(options)].flat()
    const programs = [PROGRAM, BIN].map((each) => ({ ...each, esbuildPlugins: [lateBuiltins, notices] }))
    return options.dts ? made : [...made, ...programs]
  })
