/**
 * Which tests there are: beside the code (`unit`, `bench`), one project for each folder of `tests`, and what runs inside
 * a browser (`chromium`).
 */
import { readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { playwright } from '@vitest/browser-playwright'
import { defineConfig, type TestProjectInlineConfiguration } from 'vitest/config'
import { workspaceEntries } from './scripts/package-entries.mjs'
import { CHROMIUM, CHROMIUM_ARGUMENTS, haveChromium, PROFILE } from './tests/support/chromium.ts'
import { diskServer } from './tests/support/disk-server.ts'
import { docExamples } from './tests/support/doc-examples.ts'

const path = (relative: string): string => fileURLToPath(new URL(relative, import.meta.url))

/** Tests run on the sources: those for Node.js, or those for browsers. */
const aliases = (condition: 'node' | 'default') =>
  [...workspaceEntries(path('.'), condition)].map(([name, source]) => ({
    find: new RegExp(`^${name}$`),
    replacement: source,
  }))

/** A test that hangs shall fail, but a slow machine is no failure. */
const testTimeout = 60_000

type Settings = NonNullable<TestProjectInlineConfiguration['test']>

const project = (name: string, include: string, more: Settings = {}): TestProjectInlineConfiguration => ({
  resolve: { alias: aliases('node') },
  plugins: name === 'repo' ? [docExamples()] : [],
  test: {
    name,
    include: [include],
    exclude: ['**/node_modules/**', IN_BROWSER],
    testTimeout,
    hookTimeout: testTimeout,
    ...more,
  },
})

/** What differs from the defaults, by folder of `tests`. */
const SETTINGS: Readonly<Record<string, Settings>> = {
  iotests: { pool: 'forks', isolate: false },
}

/** Tests that run inside a browser. */
const IN_BROWSER = '**/*.browser.test.ts'

const chromium: TestProjectInlineConfiguration = {
  resolve: { alias: aliases('default') },
  plugins: [diskServer(), docExamples()],
  test: {
    name: 'chromium',
    include: [`packages/*/src/${IN_BROWSER}`, `tests/*/${IN_BROWSER}`],
    testTimeout,
    // A page has no environment but what it is given.
    env: { CRASH_SEED: process.env['CRASH_SEED'] ?? '1', CRASH_SCALE: process.env['CRASH_SCALE'] ?? '1' },
    globalSetup: path('./tests/support/chromium.ts'),
    setupFiles: path('./tests/support/clean-origin.ts'),
    // One page at a time: a profile on the disk, where storage is real and quotas count, can be had only once.
    fileParallelism: false,
    browser: {
      enabled: true,
      headless: true,
      screenshotFailures: false,
      provider: playwright({
        launchOptions: { executablePath: CHROMIUM, args: [...CHROMIUM_ARGUMENTS] },
        persistentContext: PROFILE,
      }),
      instances: [{ browser: 'chromium' }],
    },
  },
}

const folders = readdirSync(path('./tests'), { withFileTypes: true })
  .filter((entry) => entry.isDirectory() && entry.name !== 'support')
  .map(({ name }) => project(name, `tests/${name}/**/*.test.ts`, SETTINGS[name]))

export default defineConfig({
  test: {
    // All of the machine: where only counts are asserted, tests do not mind each other.
    maxWorkers: '100%',
    projects: [
      project('unit', 'packages/*/src/**/*.test.ts'),
      project('bench', 'bench/src/**/*.test.ts'),
      ...folders,
      ...(haveChromium() ? [chromium] : []),
    ],
  },
})
