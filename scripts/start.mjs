// `npm start`: sets up what is not current, then becomes qemu-io-ts. The program runs in this very process, so
// that its exit code, its signals and its terminal are nobody else's.
import { existsSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import { setup } from './setup.mjs'
import { at, Failure, fail } from './toolchain.mjs'

const bin = at('packages', 'qemu-io-ts', 'dist', 'bin.cjs')

try {
  await setup()
  if (!existsSync(bin)) throw new Failure('packages/qemu-io-ts was not built')
  const given = process.argv.slice(2)
  const args = given.length === 0 && process.stdin.isTTY ? ['--scratch'] : given
  // npm starts scripts in the root of the package; names of files count from where npm was called.
  if (process.env.npm_lifecycle_event === 'start' && process.env.INIT_CWD) process.chdir(process.env.INIT_CWD)
  process.argv = [process.argv[0], bin, ...args]
  await import(pathToFileURL(bin).href)
} catch (error) {
  fail(error)
}
