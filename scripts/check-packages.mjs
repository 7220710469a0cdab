// Checks what users will install: packs every package, lints the tarballs (publint, attw), installs them into
// an empty project and loads each entry there as ES module and as CommonJS. Skipped if nothing that is packed
// has changed.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { checkPackage, createPackageFromTarballData } from '@arethetypeswrong/core'
import { publint } from 'publint'
import { formatMessage } from 'publint/utils'
import { setup } from './setup.mjs'
import { filesBelow, hashOf, isCurrent, remember } from './stamps.mjs'
import { at, Failure, fail, mustRun, pnpm } from './toolchain.mjs'
import { buildOrder } from './workspace.mjs'

// `testing` needs vitest, an optional peer that an empty project does not have; a worker's script only runs
// in workers.
const NOT_LOADED = new Set(['./package.json', './testing', './opfs-worker'])

const problems = []

async function pack(packages, directory) {
  const filters = packages.flatMap(({ manifest }) => ['--filter', manifest.name])
  await pnpm('packing', [...filters, '-r', 'pack', '--pack-destination', directory])
  const tarballs = filesBelow(directory)
  return packages.map(({ manifest }) => {
    const file = `${manifest.name.replace('@', '').replace('/', '-')}-${manifest.version}.tgz`
    const tarball = tarballs.find((path) => path.endsWith(file))
    if (!tarball) throw new Failure(`pnpm pack made no ${file}`)
    return { manifest, tarball }
  })
}

async function lint({ manifest, tarball }) {
  const { name } = manifest
  const bytes = readFileSync(tarball)
  const content = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength)
  const { messages, pkg } = await publint({ pack: { tarball: content } })
  for (const message of messages)
    problems.push(`${name}: publint: ${formatMessage(message, pkg, { color: false })}`)
  const analysis = await checkPackage(createPackageFromTarballData(bytes))
  if (!analysis.types) problems.push(`${name}: attw: has no types`)
  for (const problem of analysis.problems ?? []) {
    // Node 10's resolution has no subpath exports; Node 20 is the oldest version we support.
    if (problem.resolutionKind === 'node10') continue
    const { kind, entrypoint = '', resolutionKind = '' } = problem
    problems.push(`${name}: attw: ${kind} ${entrypoint} ${resolutionKind}`)
  }
}

/** Loads every entry both ways, and compares the exports. */
const loader = (entries) => `
import { createRequire } from 'node:module'
const require = createRequire(import.meta.url)
for (const entry of ${JSON.stringify(entries)}) {
  const names = (module) => Object.keys(module).filter((name) => !['default', 'module.exports', '__esModule'].includes(name)).sort().join()
  const [esm, cjs] = [names(await import(entry)), names(require(entry))]
  if (esm === '' || esm !== cjs) throw new Error(entry + ' exports ' + esm + ' as ES module, ' + cjs + ' as CommonJS')
}
`

/** The smallest use of the packages from CommonJS: all entries share one error class. */
const commonJs = `
const { BlockError } = require('@vmblock/block-core')
const { nodeHost } = require('@vmblock/block-core/node')
const { raw } = require('@vmblock/raw')
if (raw.name !== 'raw' || !nodeHost || !(new BlockError('EIO', 'x') instanceof Error)) process.exit(1)
`

async function install(packed) {
  const project = mkdtempSync(join(tmpdir(), 'vmblock-packed-'))
  try {
    const dependencies = Object.fromEntries(
      packed.map(({ manifest, tarball }) => [manifest.name, `file:${tarball}`]),
    )
    writeFileSync(join(project, 'package.json'), JSON.stringify({ private: true, dependencies }))
    const { npm_execpath: npm = '' } = process.env
    const options = { cwd: project, shell: process.platform === 'win32' }
    const args = ['install', '--prefer-offline', '--no-audit', '--no-fund', '--ignore-scripts']
    if (npm.endsWith('npm-cli.js'))
      await mustRun('npm install', process.execPath, [npm, ...args], { cwd: project })
    else await mustRun('npm install', 'npm', args, options)
    const entries = packed.flatMap(({ manifest: { name, exports } }) =>
      Object.keys(exports)
        .filter((entry) => !NOT_LOADED.has(entry))
        .map((entry) => name + entry.slice(1)),
    )
    writeFileSync(join(project, 'load.mjs'), loader(entries))
    await mustRun('loading the installed packages', process.execPath, ['load.mjs'], { cwd: project })
    writeFileSync(join(project, 'load.cjs'), commonJs)
    await mustRun('using the installed packages from CommonJS', process.execPath, ['load.cjs'], {
      cwd: project,
    })
    for (const { manifest } of packed) {
      for (const bin of Object.keys(manifest.bin ?? {})) {
        await mustRun(`${bin} --version`, join(project, 'node_modules', '.bin', bin), ['--version'], options)
      }
    }
  } finally {
    rmSync(project, { recursive: true, force: true })
  }
}

try {
  await setup({ types: true })
  const packages = buildOrder()
  const inputs = packages.flatMap(({ path }) => [`${path}/package.json`, ...filesBelow(`${path}/dist`)])
  const hash = hashOf([...inputs, at('LICENSE'), at('scripts/check-packages.mjs')], process.version)
  if (!isCurrent('packed', hash)) {
    const directory = at('.cache', 'packed')
    rmSync(directory, { recursive: true, force: true })
    mkdirSync(directory, { recursive: true })
    const packed = await pack(packages, directory)
    for (const item of packed) await lint(item)
    if (problems.length === 0) await install(packed)
    if (problems.length > 0) throw new Failure(problems.join('\n'))
    remember('packed', hash)
  }
} catch (error) {
  fail(error)
}
