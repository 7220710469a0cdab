/**
 * The lint rules that keep the layers apart work: plants violations, and checks that Biome fails with our own
 * configuration. Some of the rules are young; an update of Biome may rename or drop them.
 */
import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

const root = fileURLToPath(new URL('../..', import.meta.url))
const biome = join(root, 'node_modules/@biomejs/biome/bin/biome')

const core = 'packages/block-core/src'
const qcow2 = 'packages/qcow2/src'
const cli = 'packages/cli/src'
const v86 = 'packages/v86/src'
const sources = 'packages/sources/src'
const program = 'packages/qemu-io-ts/src'
/** A package that no rule names: rules hold for it at once. */
const newcomer = 'packages/newcomer/src'

/** Violations: the rule that must report each, the file it is planted in, and its code. */
const PLANTED: readonly (readonly [rule: string, path: string, code: string])[] = [
  [
    'noFloatingPromises',
    `${core}/promise.ts`,
    'const later = async () => {}\nexport const go = () => {\n  later()\n}\n',
  ],
  ['noImportCycles', `${core}/egg.ts`, "import { hen } from './hen.ts'\nexport const egg = () => hen\n"],
  ['noImportCycles', `${core}/hen.ts`, "import { egg } from './egg.ts'\nexport const hen = () => egg\n"],
  ['noRestrictedImports', `${core}/fs.ts`, "export { readFile } from 'node:fs/promises'\n"],
  ['noRestrictedImports', `${core}/subpath.ts`, "export { file } from './node-js/file.ts'\n"],
  ['noRestrictedImports', `${core}/drivers/subpath.ts`, "export { model } from '../testing/model.ts'\n"],
  ['noRestrictedImports', `${core}/upward.ts`, "export { raw } from '@vmblock/raw'\n"],
  ['noRestrictedImports', `${core}/testing/fs.ts`, "export { readFileSync } from 'node:fs'\n"],
  ['noRestrictedGlobals', `${core}/buffer.ts`, "export const bytes = Buffer.from('x')\n"],
  ['noRestrictedGlobals', `${qcow2}/platform.ts`, 'export const platform = process.platform\n'],
  ['noRestrictedImports', `${qcow2}/fs.ts`, "export { readFileSync } from 'node:fs'\n"],
  ['noRestrictedImports', `${qcow2}/sibling.ts`, "export { raw } from '@vmblock/raw'\n"],
  ['noRestrictedImports', `${qcow2}/node.ts`, "export { file } from '@vmblock/block-core/node'\n"],
  ['noRestrictedImports', `${qcow2}/format/state.ts`, "export type { Image } from '../image.ts'\n"],
  ['noRestrictedImports', 'packages/raw/src/sibling.ts', "export { qcow2 } from '@vmblock/qcow2'\n"],
  ['noRestrictedImports', 'packages/compression/src/pages/fs.ts', "export { inflateRaw } from 'node:zlib'\n"],
  [
    'noRestrictedImports',
    'packages/compression/src/up.ts',
    "export { BlockError } from '@vmblock/block-core'\n",
  ],
  ['noRestrictedImports', 'packages/compression/src/index.ts', "export * from './node-js/index.ts'\n"],
  ['noRestrictedImports', `${program}/session.ts`, "export { qcow2 } from '@vmblock/qcow2'\n"],
  ['noRestrictedImports', `${program}/drivers.ts`, "export { raw } from '@vmblock/raw'\n"],
  ['noRestrictedImports', `${cli}/formats.ts`, "export { qed } from '@vmblock/qed'\n"],
  ['noProcessGlobal', `${cli}/version.ts`, 'export const version = process.version\n'],
  ['noRestrictedImports', `${program}/exit.ts`, "export { exit } from 'node:process'\n"],
  ['noProcessGlobal', `${program}/commands/quit.ts`, 'export const quit = () => process.exit()\n'],
  [
    'noRestrictedImports',
    'bench/src/images.ts',
    "export { Image } from '../../packages/qcow2/src/image/image.ts'\n",
  ],
  ['noRestrictedImports', `${v86}/fs.ts`, "export { readFileSync } from 'node:fs'\n"],
  ['noRestrictedImports', `${v86}/driver.ts`, "export { qcow2 } from '@vmblock/qcow2'\n"],
  ['noRestrictedImports', `${v86}/entry.ts`, "export { v86Disk } from './node-js.ts'\n"],
  ['noRestrictedImports', `${v86}/emulator.ts`, "export { V86 } from 'v86'\n"],
  ['noRestrictedGlobals', `${v86}/page.ts`, 'export const title = document.title\n'],
  ['noRestrictedImports', `${v86}/list.ts`, "export { formats } from '@vmblock/formats'\n"],
  ['noRestrictedImports', `${v86}/opfs-worker.ts`, "export { opfs } from '@vmblock/block-core/browser'\n"],
  ['noRestrictedImports', `${sources}/fs.ts`, "export { readFileSync } from 'node:fs'\n"],
  ['noRestrictedImports', `${sources}/driver.ts`, "export { qcow2 } from '@vmblock/qcow2'\n"],
  ['noRestrictedImports', `${sources}/entry.ts`, "export { resolverOf } from './node-js.ts'\n"],
  ['noRestrictedGlobals', `${sources}/page.ts`, 'export const title = document.title\n'],
  [
    'noRestrictedImports',
    'packages/formats/src/stores.ts',
    "export { file } from '@vmblock/block-core/node'\n",
  ],
  ['noRestrictedImports', 'packages/formats/src/fs.ts', "export { readFileSync } from 'node:fs'\n"],
  ['noRestrictedGlobals', `${newcomer}/buffer.ts`, "export const bytes = Buffer.from('x')\n"],
  ['noRestrictedGlobals', `${newcomer}/requests/page.ts`, 'export const title = document.title\n'],
  ['noRestrictedImports', `${newcomer}/fs.ts`, "export { readFileSync } from 'node:fs'\n"],
  ['noRestrictedImports', `${newcomer}/sibling.ts`, "export { qcow2 } from '@vmblock/qcow2'\n"],
  ['noRestrictedImports', `${newcomer}/list.ts`, "export { formats } from '@vmblock/formats'\n"],
  [
    'noRestrictedImports',
    `${newcomer}/requests/file.ts`,
    "export { file } from '@vmblock/block-core/node'\n",
  ],
  ['noRestrictedImports', `${newcomer}/format/state.ts`, "export type { Image } from '../image.ts'\n"],
  ['noExcessiveLinesPerFile', `${core}/long.ts`, `${'export {}\n'.repeat(501)}`],
]

/** Code that each layer may contain. */
const ALLOWED: readonly (readonly [path: string, code: string])[] = [
  [`${core}/node-js/file.ts`, "export { readFile } from 'node:fs/promises'\n"],
  [`${core}/node-js/index.ts`, "export { BlockError } from '../errors.ts'\n"],
  [`${core}/errors.ts`, 'export class BlockError extends Error {}\n'],
  [`${core}/errors.test.ts`, "export { readFileSync } from 'node:fs'\n"],
  [
    `${qcow2}/format/header.ts`,
    "export { layout } from '@vmblock/block-core/driver'\nexport * from './features.ts'\n",
  ],
  [
    `${qcow2}/image.ts`,
    "export { Mutex } from '@vmblock/block-core/driver'\nexport * from './format/header.ts'\n",
  ],
  [`${newcomer}/driver.ts`, "export { defineDriver } from '@vmblock/block-core/driver'\n"],
  [`${newcomer}/testing/index.ts`, "export type { TestedFormat } from '@vmblock/block-core/testing'\n"],
  [`${qcow2}/image/codec.ts`, "export { loadZstd } from '@vmblock/compression'\n"],
  ['packages/compression/src/node-js/zlib.ts', "export { inflateRaw } from 'node:zlib'\n"],
  ['packages/formats/src/index.ts', "export { qcow2 } from '@vmblock/qcow2'\n"],
  [`${cli}/drivers.ts`, "export { qcow2 } from '@vmblock/qcow2'\nexport { raw } from '@vmblock/raw'\n"],
  ['bench/src/micro/lookup.ts', "export { peekRun } from '../../../packages/qcow2/src/mapping/lookup.ts'\n"],
  [`${v86}/node-js.ts`, "export { resolverOf } from '@vmblock/sources/node'\n"],
  [`${v86}/browser.ts`, "export { resolverOf } from '@vmblock/sources/browser'\n"],
  [
    `${sources}/node-js.ts`,
    "export { qcow2 } from '@vmblock/qcow2'\nexport { rm } from 'node:fs/promises'\n",
  ],
  [`${sources}/browser.ts`, "export { qcow2 } from '@vmblock/qcow2'\n"],
  [`${cli}/process.ts`, 'process.exitCode = 1\n'],
  [`${program}/bin.ts`, 'process.exitCode = 1\n'],
]

interface Diagnostic {
  readonly category: string
  readonly location: { readonly path: string | { readonly file: string } }
}

let directory: string
let found: readonly string[]

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'vmblock-lint-'))
  cpSync(join(root, 'biome.json'), join(directory, 'biome.json'))
  writeFileSync(join(directory, '.gitignore'), 'dist\n')
  for (const folder of [
    'block-core',
    'raw',
    'qcow2',
    'formats',
    'cli',
    'sources',
    'v86',
    'qemu-io-ts',
    'newcomer',
  ])
    plant(
      `packages/${folder}/package.json`,
      JSON.stringify({
        name: folder,
        dependencies: {
          '@vmblock/block-core': '*',
          '@vmblock/raw': '*',
          '@vmblock/qcow2': '*',
          '@vmblock/qed': '*',
          '@vmblock/formats': '*',
          '@vmblock/sources': '*',
          v86: '*',
        },
      }),
    )
  for (const [, path, code] of PLANTED) plant(path, code)
  for (const [path, code] of ALLOWED) plant(path, code)
  const run = spawnSync(process.execPath, [biome, 'lint', '--reporter=json', '--max-diagnostics=1000', '.'], {
    cwd: directory,
    encoding: 'utf8',
  })
  const { diagnostics } = JSON.parse(run.stdout) as { readonly diagnostics: readonly Diagnostic[] }
  found = diagnostics.map(({ category, location: { path } }) => {
    const file = typeof path === 'string' ? path : path.file
    return `${category.split('/').at(-1)} ${file.replaceAll('\\', '/')}`
  })
  expect(run.status).not.toBe(0)
}, 60_000)

afterAll(() => rmSync(directory, { recursive: true, force: true }))

function plant(path: string, code: string): void {
  mkdirSync(dirname(join(directory, path)), { recursive: true })
  writeFileSync(join(directory, path), code)
}

describe('lint', () => {
  it.each(PLANTED)('%s sees what is wrong in %s', (rule, path) => {
    expect(found).toContain(`${rule} ${path}`)
  })

  it.each(ALLOWED)('lets %s be', (path) => {
    const rules = new Set(PLANTED.map(([rule]) => rule))
    expect(found.filter((line) => line.endsWith(` ${path}`) && rules.has(line.split(' ')[0]!))).toEqual([])
  })
})
