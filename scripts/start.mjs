// `npm start`: sets up what is out of date, then becomes qemu-io-ts. The program runs in this process, so
// that it has the exit code, the signals and the terminal to itself.
import { existsSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import { setup } from './setup.mjs'
import { at, Failure, fail, say } from './toolchain.mjs'

const bin = at('packages', 'qemu-io-ts', 'dist', 'bin.cjs')

try {
  await setup()
  if (!existsSync(bin)) throw new Failure('packages/qemu-io-ts was not built')
  const given = process.argv.slice(2)
  if (given.length === 0 && !process.stdin.isTTY)
    say('no image is open; name one: npm start -- disk.qcow2, or the command: open disk.qcow2')
  const args = given.length === 0 && process.stdin.isTTY ? ['--scratch'] : given
  // npm starts scripts in the root of the package; file names are relative to the directory npm was called
  // in.
  if (process.env.npm_lifecycle_event === 'start' && process.env.INIT_CWD) process.chdir(process.env.INIT_CWD)
  process.argv = [process.argv[0], bin, ...args]
  await import(pathToFileURL(bin).href)
} catch (error) {
  fail(error)
}
