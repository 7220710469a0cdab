/** Which tests there are: beside the code (`unit`), and one project for each folder of `tests`. */
import { readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { defineConfig, type TestProjectInlineConfiguration } from 'vitest/config'

const path = (relative: string): string => fileURLToPath(new URL(relative, import.meta.url))
const source = (entry: string): string => path(`./packages/${entry}`)

/** Tests run on the sources; subpaths come before the roots they start with. */
const alias = {
  '@vmblock/block-core/node': source('block-core/src/node/index.ts'),
  '@vmblock/block-core/testing': source('block-core/src/testing/index.ts'),
  '@vmblock/block-core': source('block-core/src/index.ts'),
  '@vmblock/raw': source('raw/src/index.ts'),
  '@vmblock/qcow2': source('qcow2/src/index.ts'),
  '@vmblock/qed': source('qed/src/index.ts'),
  '@vmblock/cli/process': source('cli/src/process.ts'),
  '@vmblock/cli': source('cli/src/index.ts'),
  '@vmblock/qemu-io-ts': source('qemu-io-ts/src/index.ts'),
  '@vmblock/qemu-img-ts': source('qemu-img-ts/src/index.ts'),
}

/** A test that hangs shall fail, but a slow machine is no failure. */
const testTimeout = 60_000

type Settings = NonNullable<TestProjectInlineConfiguration['test']>

const project = (name: string, include: string, more: Settings = {}): TestProjectInlineConfiguration => ({
  resolve: { alias },
  test: { name, include: [include], testTimeout, hookTimeout: testTimeout, ...more },
})

/** What differs from the defaults, by folder of `tests`. */
const SETTINGS: Readonly<Record<string, Settings>> = {
  iotests: { pool: 'forks', isolate: false },
}

const folders = readdirSync(path('./tests'), { withFileTypes: true })
  .filter((entry) => entry.isDirectory() && entry.name !== 'support')
  .map(({ name }) => project(name, `tests/${name}/**/*.test.ts`, SETTINGS[name]))

export default defineConfig({
  test: { projects: [project('unit', 'packages/*/src/**/*.test.ts'), ...folders] },
})
