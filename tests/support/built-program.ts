/** Our programs for tests that need processes: built from the sources, in the two files that are shipped. */
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))

/** A program, by its package. */
export type ProgramName = 'qemu-img-ts' | 'qemu-io-ts'

/**
 * Builds a program into a directory.
 *
 * @returns the path of what Node is to run
 */
export async function buildProgram(name: ProgramName, outdir: string): Promise<string> {
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
    // Its paths lead to the sources.
    tsconfig: join(ROOT, 'tsconfig.json'),
  })
  return join(outdir, 'bin.cjs')
}
