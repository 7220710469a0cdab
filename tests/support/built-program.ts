/** Our programs for tests that need processes: built from the sources, as the two files that are shipped. */
import { existsSync, mkdirSync, realpathSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { lateBuiltins } from '../../scripts/late-builtins.mjs'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))

/** A program, by its package. */
export type ProgramName = 'qemu-img-ts' | 'qemu-io-ts'

/** The package with the system calls, if it is installed. */
const KOFFI = join(ROOT, 'packages/block-core/node_modules/koffi')

/**
 * Builds a program into a directory, with koffi beside it, as an installation has it.
 *
 * @param koffi false: without it, as where it could not be installed
 * @returns the path of the script that Node.js is to run
 */
export async function buildProgram(name: ProgramName, outdir: string, koffi = true): Promise<string> {
  await build({
    absWorkingDir: ROOT,
    bundle: true,
    entryPoints: ['bin', 'program'].map((part) => join(ROOT, 'packages', name, 'src', `${part}.ts`)),
    platform: 'node',
    target: 'es2022',
    format: 'cjs',
    outdir,
    outExtension: { '.js': '.cjs' },
    logLevel: 'error',
    plugins: [lateBuiltins],
    // Its paths lead to the sources.
    tsconfig: join(ROOT, 'tsconfig.json'),
  })
  const modules = join(outdir, 'node_modules')
  if (koffi && existsSync(KOFFI) && !existsSync(modules)) {
    mkdirSync(modules)
    symlinkSync(realpathSync(KOFFI), join(modules, 'koffi'), 'junction')
  }
  return join(outdir, 'bin.cjs')
}
