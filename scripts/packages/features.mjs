// What the packages can do in each runtime: docs/platforms.md says it, and these projects hold it.
import { join } from 'node:path'
import { Failure } from '../toolchain.mjs'
import { hasBrowser, visit } from './page.mjs'
import { nameOf } from './runtimes.mjs'

/** What only Linux has. */
const OF_LINUX = ["QEMU's file locks", 'O_DIRECT', 'system calls (koffi)']

/** The reasons of features that a project lacks on purpose, each with a part of what it says. */
const WITHOUT_KOFFI = {
  "QEMU's file locks": 'koffi is not installed',
  'system calls (koffi)': "Cannot find module 'koffi'",
}

/** @throws Failure naming the features that differ from `yes`, or from what they should lack */
function compare(where, report, lacks = {}) {
  const differs = Object.entries(report).filter(([feature, said]) => {
    if (process.platform !== 'linux' && OF_LINUX.includes(feature)) return false
    return lacks[feature] === undefined ? said !== 'yes' : !said.includes(lacks[feature])
  })
  if (differs.length > 0)
    throw new Failure(differs.map(([feature, said]) => `${where}: ${feature}: ${said}`).join('\n'))
}

/** A row: the features of a runtime, with koffi or without. */
const inRuntime = (key, { sample = false, koffi = '3.3.4' } = {}) => ({
  name: `features, ${key}${koffi ? '' : ' without koffi'}: ${nameOf(key)}`,
  sample,
  packages: ['@vmblock/block-core', '@vmblock/qcow2', '@vmblock/v86'],
  others: koffi ? { koffi } : {},
  async run({ program, exec }) {
    program('features.mjs')
    const report = JSON.parse(
      (await exec(key, 'features.mjs')).split('\n').find((line) => line.startsWith('{')),
    )
    compare(nameOf(key), report, koffi ? {} : WITHOUT_KOFFI)
    return Object.entries(report)
      .filter(([, said]) => said === 'yes')
      .map(([feature]) => feature)
      .join(', ')
  },
})

/** A row: the features of a page, and of a worker of it, in the browser of the tests. */
const inPage = {
  name: 'features, page and worker: Chromium',
  packages: ['@vmblock/v86'],
  others: { esbuild: '0.28.2' },
  missing: () => (hasBrowser() ? undefined : 'there is no Chromium'),
  async run({ folder, write, program, node }) {
    program('page-features.mjs', 'main.js')
    write(
      'build.mjs',
      `import { build } from 'esbuild'
await build({
  entryPoints: { main: 'main.js', 'opfs-worker': '@vmblock/v86/opfs-worker' },
  bundle: true, splitting: true, format: 'esm', platform: 'browser', outdir: 'out', logLevel: 'error',
})`,
    )
    write(join('out', 'index.html'), '<!doctype html><script type="module" src="./main.js"></script>')
    await node('build.mjs')
    const report = JSON.parse(await visit(join(folder, 'out')))
    for (const where of Object.keys(report)) compare(where, report[where])
    return Object.keys(report.page).join(', ')
  },
}

/** The rows of the table. */
export const features = [
  inRuntime('this', { sample: true }),
  inRuntime('this', { sample: true, koffi: '' }),
  ...['floor', 'newest', 'bun', 'deno'].map((key) => inRuntime(key)),
  inPage,
]
