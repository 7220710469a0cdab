// Makes a clone ready: dependencies by the pinned pnpm, then the packages' builds, each only if it is out of
// date.
// `node scripts/setup.mjs` builds everything that runs, `--types` also the published declarations.
import { closeSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import { filesBelow, hashOf, isCurrent, remember } from './stamps.mjs'
import { at, Failure, fail, mustRun, nodeTool, pnpm, readJson, say } from './toolchain.mjs'
import { buildOrder, manifestFiles } from './workspace.mjs'

/** Brings everything up to date. Quick, and silent, if there is nothing to do. */
export async function setup({ types = false } = {}) {
  checkNode()
  if (isInstalled() && staleBuilds(types).length === 0) return
  await locked(async () => {
    if (!isInstalled()) await install()
    const stale = staleBuilds(types)
    if (stale.length > 0) await build(stale)
  })
}

function checkNode() {
  const { engines } = readJson(at('package.json'))
  const wanted = /(\d+)\.(\d+)/.exec(engines.node)
  const [major, minor] = process.versions.node.split('.').map(Number)
  if (major > Number(wanted[1]) || (major === Number(wanted[1]) && minor >= Number(wanted[2]))) return
  throw new Failure(`needs Node ${engines.node}; this is ${process.version}`)
}

// The platform counts, because esbuild and Biome are native programs.
const installHash = () => hashOf(manifestFiles(), process.platform, process.arch)
const isInstalled = () => isCurrent('install', installHash())

async function install() {
  const { packageManager } = readJson(at('package.json'))
  say(`installing dependencies (${packageManager}) ...`)
  const hash = installHash()
  const began = Date.now()
  // A slow line or a cold store takes minutes.
  const beat = setInterval(() => say(`  installing for ${Math.round((Date.now() - began) / 1000)} s`), 10_000)
  try {
    await pnpm('installing dependencies', ['install', '--frozen-lockfile'])
  } finally {
    clearInterval(beat)
  }
  remember('install', hash, [at('node_modules', 'tsup')])
}

/** The steps to run, in order: `{ item, step, hash }`, where a step is `code` or `types`. */
function staleBuilds(types) {
  const shared = [
    'tsup.library.ts',
    'tsup.program.ts',
    'scripts/late-builtins.mjs',
    'scripts/package-entries.mjs',
    'tsconfig.json',
    'package.json',
    'pnpm-lock.yaml',
  ].map((name) => at(name))
  const hashes = new Map()
  const stale = []
  for (const item of buildOrder()) {
    const { folder, path, needs } = item
    const sources = filesBelow(`${path}/src`).filter((file) => !file.endsWith('.test.ts'))
    const files = [`${path}/package.json`, `${path}/tsup.config.ts`, ...sources, ...shared]
    const hash = hashOf(files, ...needs.map((needed) => hashes.get(needed)))
    hashes.set(item, hash)
    const codeIsStale = !isCurrent(`${folder}.code`, hash)
    if (codeIsStale) stale.push({ item, step: 'code', hash })
    if (types && (codeIsStale || !isCurrent(`${folder}.types`, hash)))
      stale.push({ item, step: 'types', hash })
  }
  return stale
}

async function build(stale) {
  const names = [...new Set(stale.map(({ item }) => item.folder))]
  say(`building ${names.join(', ')}: ${stale.length} steps ...`)
  const done = new Map()
  const began = Date.now()
  let made = 0
  for (const job of stale) {
    const { item, step } = job
    // Its own code first, since that empties dist; then the same step of its dependencies.
    const after = [
      done.get(`${item.folder}.code`),
      ...item.needs.map(({ folder }) => done.get(`${folder}.${step}`)),
    ]
    const running = Promise.all(after).then(async () => {
      await buildOne(job)
      made++
      const seconds = Math.round((Date.now() - began) / 1000)
      const what = step === 'types' ? `the declarations of ${item.folder}` : item.folder
      say(`  ${made}/${stale.length}  ${what}  (${seconds} s)`)
    })
    done.set(`${item.folder}.${step}`, running)
  }
  const results = await Promise.allSettled(done.values())
  const failed = results.find(({ status }) => status === 'rejected')
  if (failed) throw failed.reason
}

async function buildOne({ item: { folder, path }, step, hash }) {
  const isDeclaration = (file) => /\.d\.c?ts$/.test(file)
  if (step === 'code') rmSync(`${path}/dist`, { recursive: true, force: true })
  else for (const file of filesBelow(`${path}/dist`).filter(isDeclaration)) rmSync(file)
  const [node, tsup] = nodeTool('tsup/dist/cli-default.js')
  await mustRun(`building ${folder}`, node, [tsup, ...(step === 'types' ? ['--dts-only'] : [])], {
    cwd: path,
  })
  const made = filesBelow(`${path}/dist`).filter((file) => isDeclaration(file) === (step === 'types'))
  if (made.length === 0) throw new Failure(`building ${folder} made no ${step}`)
  if (step === 'types') for (const file of made) nameLibraries(file)
  remember(`${folder}.${step}`, hash, made)
}

/** Makes the declarations for `await using` independent of the type libraries of the application. */
function nameLibraries(file) {
  const text = readFileSync(file, 'utf8')
  if (/asyncDispose|AsyncDisposable/.test(text))
    writeFileSync(file, `/// <reference lib="esnext.disposable" />\n${text}`)
}

/** Runs `body` while no other process sets up the same clone. */
async function locked(body) {
  const lock = at('.cache', 'setup.lock')
  mkdirSync(at('.cache'), { recursive: true })
  for (let told = false; ; told = true) {
    try {
      const handle = openSync(lock, 'wx')
      writeSync(handle, String(process.pid))
      closeSync(handle)
      break
    } catch (error) {
      if (error.code !== 'EEXIST') throw error
    }
    if (isAbandoned(lock)) rmSync(lock, { force: true })
    else if (!told) say('waiting for another setup of this clone ...')
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  try {
    return await body()
  } finally {
    rmSync(lock, { force: true })
  }
}

/** Whether the process that took a lock died without releasing it. */
function isAbandoned(lock) {
  try {
    process.kill(Number(readFileSync(lock, 'utf8')), 0)
    return false
  } catch (error) {
    return error.code === 'ESRCH'
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  await setup({ types: process.argv.includes('--types') }).catch(fail)
}
