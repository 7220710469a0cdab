// Empty projects: a folder outside of the repository, with the tarballs installed as a user's package manager does it.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { mustRun, pnpm, run } from '../toolchain.mjs'

const QUIET = ['--prefer-offline', '--no-audit', '--no-fund', '--ignore-scripts']

/** The command for npm: the one that runs us, if one does. */
function npm(...args) {
  const { npm_execpath: runner = '' } = process.env
  return runner.endsWith('npm-cli.js') ? [process.execPath, [runner, ...args]] : ['npm', args]
}

const SHELL = process.platform === 'win32'

/** Installs what a folder's package.json asks for. @throws Failure */
export const npmInstall = (folder) =>
  mustRun('npm install', ...npm('install', ...QUIET), { cwd: folder, shell: SHELL })

/** Whether the npm registry answers. */
export const hasRegistry = async () =>
  (await run(...npm('ping', '--fetch-retries=0'), { shell: SHELL })).code === 0

/** Makes projects of tarballs; {@link Projects.remove} removes them all. */
export class Projects {
  #directory = mkdtempSync(join(tmpdir(), 'vmblock-packed-'))
  #packed
  /** Folders by what is installed there: projects of the same packages share one. */
  #made = new Map()

  /** @param packed `{ manifest, tarball }` of every package of the workspace */
  constructor(packed) {
    this.#packed = packed
  }

  /**
   * A folder with packages installed.
   *
   * @param packages names of ours; what these need of ours comes as a tarball, too. Undefined: all of them
   * @param others ranges of others, by name
   * @param client `npm` or `pnpm`
   */
  async with(packages, others = {}, client = 'npm') {
    const key = JSON.stringify([packages, others, client])
    if (!this.#made.has(key)) this.#made.set(key, this.#make(packages, others, client))
    return this.#made.get(key)
  }

  async #make(packages, others, client) {
    const folder = mkdtempSync(join(this.#directory, `${client}-`))
    const tarballs = Object.fromEntries(
      this.#packed.map(({ manifest, tarball }) => [manifest.name, `file:${tarball}`]),
    )
    const wanted = packages ?? Object.keys(tarballs)
    const dependencies = Object.fromEntries(wanted.map((name) => [name, tarballs[name]]))
    const manifest = {
      private: true,
      dependencies: { ...dependencies, ...others },
      // What ours need of each other is not in the registry before a release.
      overrides: Object.fromEntries(Object.entries(tarballs).filter(([name]) => !wanted.includes(name))),
      pnpm: { overrides: tarballs },
    }
    writeFileSync(join(folder, 'package.json'), JSON.stringify(manifest, null, 2))
    if (client === 'pnpm')
      await pnpm(
        'pnpm install',
        ['install', '--prefer-offline', '--ignore-scripts', '--no-frozen-lockfile'],
        folder,
      )
    else await npmInstall(folder)
    return folder
  }

  remove() {
    rmSync(this.#directory, { recursive: true, force: true })
  }
}
