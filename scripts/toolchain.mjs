// Helpers of the scripts: paths, running a program quietly, and reporting progress.
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The repository, as a path without a slash at its end. */
export const root = fileURLToPath(new URL('..', import.meta.url)).replace(/[\\/]$/, '')

/** A path inside the repository. */
export const at = (...parts) => join(root, ...parts)

export const readJson = (path) => JSON.parse(readFileSync(path, 'utf8'))

/** Prints to stderr: standard output belongs to the program that is started. */
export const say = (line) => process.stderr.write(`vmblock: ${line}\n`)

/** A failure whose message explains it; no stack trace is shown. */
export class Failure extends Error {}

/** Runs a program without a terminal; resolves to its exit code and its whole output. */
export function run(command, args, { cwd = root, env = process.env, shell = false } = {}) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd, env, shell, stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    const collect = (chunk) => {
      output += chunk
    }
    child.stdout.setEncoding('utf8').on('data', collect)
    child.stderr.setEncoding('utf8').on('data', collect)
    child.on('error', (error) => resolve({ code: 127, output: `${command}: ${error.message}\n` }))
    child.on('close', (code, signal) => resolve({ code: code ?? 1, output, signal }))
  })
}

/** Runs a program that must succeed. */
export async function mustRun(what, command, args, options) {
  const { code, output } = await run(command, args, options)
  if (code !== 0) throw new Failure(`${what} failed (exit code ${code}):\n${output.trimEnd()}`)
  return output
}

/** Runs a JavaScript program of node_modules. */
export const nodeTool = (path) => [process.execPath, at('node_modules', path)]

/** The command for the pinned pnpm: the one that runs us if it has that version, otherwise npm's. */
export function pnpmCommand() {
  const { packageManager } = readJson(at('package.json'))
  const { npm_execpath: runner = '', npm_config_user_agent: agent = '' } = process.env
  if (/pnpm\.c?js$/.test(runner) && agent.startsWith(`${packageManager.replace('@', '/')} `)) {
    return { command: process.execPath, args: [runner] }
  }
  if (/npm-cli\.js$/.test(runner)) {
    return {
      command: process.execPath,
      args: [runner, 'exec', '--yes', `--package=${packageManager}`, '--', 'pnpm'],
    }
  }
  return { command: 'npx', args: ['--yes', packageManager], shell: process.platform === 'win32' }
}

/** Runs the pinned pnpm, which must succeed. CI=true: it never asks, and never changes the lockfile. */
export function pnpm(what, args, cwd = root) {
  const { command, args: before, shell } = pnpmCommand()
  return mustRun(what, command, [...before, ...args], { cwd, shell, env: { ...process.env, CI: 'true' } })
}

/** Ends a script: a Failure prints its message, any other error is a bug and prints its stack. */
export function fail(error) {
  process.stderr.write(`vmblock: ${error instanceof Failure ? error.message : (error?.stack ?? error)}\n`)
  process.exitCode = 1
}
