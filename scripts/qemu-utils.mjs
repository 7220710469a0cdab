// The real qemu-img and qemu-io, which the interop tests compare with: installed where that is possible.
import { at, run, say } from './toolchain.mjs'

const hasQemu = async () => (await run('qemu-img', ['--version'])).code === 0

/** Installs Debian's qemu-utils when qemu-img is missing and we may. Never fails: without it, tests say so. */
export async function provideQemu() {
  if (await hasQemu()) return
  const isRoot = process.getuid?.() === 0
  if (!isRoot || (await run('apt-get', ['--version'])).code !== 0) {
    say(
      'qemu-img is missing, and cannot be installed from here (that needs root and apt); interop tests are skipped',
    )
    return
  }
  say('installing qemu-utils ...')
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  const options = { cwd: at(), env }
  const wanted = ['install', '-y', '-qq', '--no-install-recommends', 'qemu-utils']
  let result = await run('apt-get', wanted, options)
  if (result.code !== 0) {
    await run('apt-get', ['update', '-qq'], options)
    result = await run('apt-get', wanted, options)
  }
  if (result.code !== 0)
    say(`qemu-utils could not be installed; interop tests are skipped\n${result.output.trimEnd()}`)
}
