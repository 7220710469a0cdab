/** The versions of Node.js that run our programs: the current one, and others from npm. */
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'

/** One version of Node.js. */
export interface Runtime {
  /** `node-26.10.0` */
  readonly id: string
  /** `26.10.0` */
  readonly version: string
  readonly path: string
}

/** The Node.js at a path. @throws Error when there is none */
export function runtimeAt(path: string): Runtime {
  const version = execFileSync(path, ['--version'], { encoding: 'utf8' }).trim().replace(/^v/, '')
  return { id: `node-${version}`, version, path }
}

/** The Node.js that runs this. */
export const ownRuntime = (): Runtime => runtimeAt(process.execPath)

/**
 * Finds the Node.js that `--node` names: `newest`, a version or range of versions (`22`), or the path of a
 * program.
 *
 * @param cache a folder that keeps what npm installs
 * @returns undefined, after a warning, if it is not available
 */
export function findRuntime(name: string, cache: string, warn: (line: string) => void): Runtime | undefined {
  try {
    if (name.includes('/')) return runtimeAt(resolve(name))
    return installed(name === 'newest' ? 'latest' : name, cache)
  } catch (error) {
    const reason = error instanceof Error ? error.message.trim() : String(error)
    warn(`Node ${name} cannot be had, going on without it: ${reason}`)
    return undefined
  }
}

/** Installs the npm package `node`, which is Node.js itself. */
function installed(wanted: string, cache: string): Runtime {
  if (!/^[\w.^~-]+$/.test(wanted)) throw new Error(`'${wanted}' is no version`)
  const folder = join(cache, wanted)
  mkdirSync(folder, { recursive: true })
  if (!existsSync(join(folder, 'package.json')))
    writeFileSync(join(folder, 'package.json'), '{"private":true}')
  const args = ['install', '--no-audit', '--no-fund', '--no-save', `node@${wanted}`]
  const { status, stderr, error } = spawnSync('npm', args, { cwd: folder, encoding: 'utf8' })
  const path = join(folder, 'node_modules', 'node', 'bin', 'node')
  // Without the network an earlier installation is what was requested, or close to it.
  if (existsSync(path)) return runtimeAt(path)
  throw new Error(error?.message ?? (status === 0 ? 'npm installed no program' : reasonIn(stderr)))
}

/** The first lines of npm's error message. */
const reasonIn = (text: string): string =>
  text
    .split('\n')
    .filter((line) => line.startsWith('npm error'))
    .slice(0, 3)
    .map((line) => line.slice('npm error'.length).trim())
    .join(', ')
