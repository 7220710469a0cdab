// What users make of the packages: each project is empty but for some of them, a small program, and the tools of its
// kind. A row of the table says what is installed, and what is done; `sample` marks what `npm test` does as well.
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { Failure } from '../toolchain.mjs'
import { bundlers } from './bundlers.mjs'
import { features } from './features.mjs'
import { nameOf } from './runtimes.mjs'

const CORE = '@vmblock/block-core'
const QCOW2 = '@vmblock/qcow2'
const KOFFI = { koffi: '3.3.4' }

/** What a program says that found its bytes again. */
const READ = 'read 7'

/** What entries need that an empty project does not have: a test runner; and a worker's script runs in workers. */
const NOT_LOADED = new Set(['./package.json', './testing', './opfs-worker'])

const equal = (said, expected) => {
  if (said.trim() !== expected) throw new Failure(`said ${said.trim()} instead of ${expected}`)
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

/** A project of the TypeScript compiler. */
const typescript = (name, { version, compilerOptions, types, programs, sample = false, runs = [] }) => ({
  name: `TypeScript ${version ?? 'of the repository'}, ${name}`,
  sample,
  others: { ...types, ...(version && { typescript: version }) },
  async run({ write, program, tsc, node }) {
    const files = programs.map(([source, as]) => {
      program(source, as)
      return as
    })
    const strict = { strict: true, skipLibCheck: false, target: 'es2022', outDir: 'out', ...compilerOptions }
    write('tsconfig.json', JSON.stringify({ compilerOptions: strict, files }))
    await tsc(version !== undefined)
    for (const file of runs) equal(await node(join('out', file)), READ)
  },
})

const NODE_TYPES = { '@types/node': '20.19.43' }
const NODE16 = {
  compilerOptions: { module: 'node16', lib: ['es2022'], types: ['node'] },
  types: NODE_TYPES,
  programs: [
    ['typed.ts', 'typed.mts'],
    ['typed.ts', 'typed.cts'],
  ],
  runs: ['typed.mjs', 'typed.cjs'],
}
const BUNDLER = {
  compilerOptions: {
    module: 'esnext',
    moduleResolution: 'bundler',
    lib: ['es2022', 'dom'],
    types: [],
    noEmit: true,
  },
  programs: [['typed-page.ts', 'page.ts']],
}

/**
 * A project with `vmblock` alone: compiled as an ES module of Node.js, and run. Its declarations need TypeScript 5.7.
 *
 * @param runtimes what runs the compiled program
 */
const door = ({ version, runtimes, sample = false }) => ({
  name: `vmblock in TypeScript ${version ?? 'of the repository'}: ${runtimes.map(nameOf).join(', ')}`,
  sample,
  packages: ['vmblock'],
  others: { ...NODE_TYPES, ...KOFFI, ...(version && { typescript: version }) },
  async run({ write, program, tsc, exec }) {
    program('door.mts')
    const compilerOptions = {
      strict: true,
      skipLibCheck: false,
      target: 'es2022',
      module: 'node16',
      lib: ['es2022', 'esnext.disposable'],
      types: ['node'],
      outDir: 'out',
    }
    write('tsconfig.json', JSON.stringify({ compilerOptions, files: ['door.mts'] }))
    await tsc(version !== undefined)
    for (const key of runtimes) equal(await exec(key, join('out', 'door.mjs')), READ)
  },
})

/** Asks the core of v86 for its library: with pnpm the application itself does not see the core. */
const CALLS = `
const { realpathSync } = require('node:fs')
const { createRequire } = require('node:module')
const ofV86 = createRequire(realpathSync(require.resolve('@vmblock/v86/node')))
console.log(ofV86('${CORE}/node').systemCallsReport().library)
`

/** The projects; `packages` is undefined where all of ours are installed. */
export const PROJECTS = [
  ...['this', 'floor', 'newest', 'bun', 'deno'].map((key) => ({
    name: `every entry, as ES module and as CommonJS: ${nameOf(key)}`,
    sample: key === 'this',
    async run({ packed, write, exec, bin }) {
      const entries = packed.flatMap(({ manifest: { name, exports } }) =>
        Object.keys(exports)
          .filter((entry) => !NOT_LOADED.has(entry))
          .map((entry) => name + entry.slice(1)),
      )
      write('load.mjs', loader(entries))
      await exec(key, 'load.mjs')
      for (const { manifest } of packed)
        for (const [name, file] of Object.entries(manifest.bin ?? {}))
          for (const said of [
            await exec(key, `node_modules/${manifest.name}/${file}`, '--version'),
            ...(key === 'this' ? [await bin(name, '--version')] : []),
          ])
            if (!said.includes(` ${manifest.version} `))
              throw new Failure(`${name} --version says ${said} instead of ${manifest.version}`)
      return `${entries.length} entries, and the programs`
    },
  })),
  {
    name: 'only the core and a format: neither koffi nor idb arrives',
    sample: true,
    packages: [CORE, QCOW2],
    async run({ folder, program, node }) {
      for (const name of ['koffi', '@koromix', 'idb', 'vitest'])
        if (existsSync(join(folder, 'node_modules', name))) throw new Failure(`${name} was installed`)
      program('memory.mjs')
      equal(await node('memory.mjs'), READ)
      program('memory.mjs', 'memory.cjs')
      equal(await node('memory.cjs'), READ)
    },
  },
  ...['npm', 'pnpm'].map((client) => ({
    name: `koffi of the application, below @vmblock/v86, installed by ${client}`,
    packages: ['@vmblock/v86'],
    others: KOFFI,
    client,
    async run({ write, node }) {
      write('calls.cjs', CALLS)
      equal(await node('calls.cjs'), `koffi ${KOFFI.koffi}`)
    },
  })),
  typescript('module node16', { ...NODE16, sample: true }),
  typescript('module bundler, for pages', { ...BUNDLER, sample: true }),
  ...['5.5.4', '7.0.2'].flatMap((version) => [
    typescript('module node16', { ...NODE16, version }),
    typescript('module bundler, for pages', { ...BUNDLER, version }),
  ]),
  door({ runtimes: ['this'], sample: true }),
  door({ version: '5.7.3', runtimes: ['floor', 'newest', 'bun', 'deno'] }),
  door({ version: '7.0.2', runtimes: ['this'] }),
  {
    name: 'what an editor offers for options',
    sample: true,
    packages: ['vmblock', CORE, QCOW2],
    others: { ...NODE_TYPES, typescript: '5.9.3' },
    async run({ program, node }) {
      program('completions.cjs')
      equal(await node('completions.cjs'), 'offered')
    },
  },
  ...bundlers(equal, READ),
  ...features,
]
