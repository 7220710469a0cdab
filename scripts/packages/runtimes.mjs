// The programs that run JavaScript outside of pages: this Node.js, and pinned versions of it, of Bun and of Deno, which
// the npm registry has as packages with a binary for each system. They are installed into the cache when they
// are first used: at a hundred megabytes each they are no dependencies of the repository.
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { at } from '../toolchain.mjs'
import { npmInstall } from './install.mjs'

const { platform, arch } = process
const exe = platform === 'win32' ? '.exe' : ''

/** Node.js by its version. */
const node = (version) => ({
  name: `Node.js ${version}`,
  packages: { [`node-${platform === 'win32' ? 'win' : platform}-${arch}`]: version },
  binary: (modules, [name]) => join(modules, name, 'bin', `node${exe}`),
  args: [],
})

const BUN_ARCH = { x64: 'x64', arm64: 'aarch64' }
const DENO_SUFFIX = platform === 'linux' ? '-glibc' : ''

/** What is installed, and how a module is run by it; the first is the engine's floor, that of package.json. */
export const RUNTIMES = {
  floor: node('20.19.0'),
  newest: node('26.10.0'),
  bun: {
    name: 'Bun 1.4.5',
    packages: {
      [`@oven/bun-${platform === 'win32' ? 'windows' : platform}-${BUN_ARCH[arch] ?? arch}`]: '1.4.5',
    },
    binary: (modules, [name]) => join(modules, name, 'bin', `bun${exe}`),
    // Only what is installed: Bun would fetch what it does not find.
    args: ['--no-install'],
  },
  deno: {
    name: 'Deno 2.9.6',
    packages: { [`@deno/${platform}-${arch}${DENO_SUFFIX}`]: '2.9.6' },
    binary: (modules, [name]) => join(modules, name, `deno${exe}`),
    args: ['run', '--allow-all', '--node-modules-dir=manual', '--no-remote', '--no-lock', '--quiet'],
  },
}

/** The command of a runtime, installed if it is not: `[program, ...arguments]`. @throws Failure if it cannot be had */
export async function commandOf(key) {
  if (key === 'this') return [process.execPath]
  const { packages, binary, args } = RUNTIMES[key]
  const folder = at(
    '.cache',
    'runtimes',
    ...Object.entries(packages)
      .flat()
      .map((part) => part.replace('/', '+')),
  )
  const program = binary(join(folder, 'node_modules'), Object.keys(packages))
  if (!existsSync(program)) {
    mkdirSync(folder, { recursive: true })
    writeFileSync(join(folder, 'package.json'), JSON.stringify({ private: true, dependencies: packages }))
    await npmInstall(folder)
  }
  return [program, ...args]
}

/** The name of a runtime for people. */
export const nameOf = (key) => (key === 'this' ? `Node.js ${process.versions.node}` : RUNTIMES[key].name)
