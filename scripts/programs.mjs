// Provides programs that tests need and npm does not have: the real qemu-img and qemu-io, a browser, shells,
// man, file system tools. Installs them from Debian where possible. Never fails: tests report missing programs.
import { at, run, say } from './toolchain.mjs'

const PROGRAMS = [
  { command: 'qemu-img', package: 'qemu-utils', lost: 'interop tests are skipped' },
  {
    command: process.env.CHROMIUM ?? '/usr/bin/chromium',
    package: 'chromium',
    lost: 'tests in a browser are left out',
  },
  { command: 'zsh', package: 'zsh', lost: 'its completion is not tried' },
  { command: 'fish', package: 'fish', lost: 'its completion is not tried' },
  { command: 'man', package: 'man-db', lost: 'manual pages are not shown' },
  { command: 'groff', package: 'groff', lost: 'manual pages are not set' },
  { command: 'mke2fs', flag: '-V', package: 'e2fsprogs', lost: 'guests in a browser are skipped' },
]

const isThere = async ({ command, flag = '--version' }) => (await run(command, [flag])).code === 0

/** Installs missing programs, where permitted. */
export async function providePrograms() {
  const missing = []
  for (const program of PROGRAMS) if (!(await isThere(program))) missing.push(program)
  if (missing.length === 0) return
  const canInstall = process.getuid?.() === 0 && (await run('apt-get', ['--version'])).code === 0
  for (const program of missing) {
    if (canInstall) await install(program)
    else
      say(`${program.command} is missing, and cannot be installed from here (root and apt); ${program.lost}`)
  }
}

async function install({ package: name, lost }) {
  say(`installing ${name} ...`)
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  const options = { cwd: at(), env }
  const wanted = ['install', '-y', '-qq', '--no-install-recommends', name]
  let result = await run('apt-get', wanted, options)
  if (result.code !== 0) {
    await run('apt-get', ['update', '-qq'], options)
    result = await run('apt-get', wanted, options)
  }
  if (result.code !== 0) say(`${name} could not be installed; ${lost}\n${result.output.trimEnd()}`)
}
