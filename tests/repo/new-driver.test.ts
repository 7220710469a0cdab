/** `npm run new-driver` makes a package that passes everything at once, and that a line on the list of formats makes known. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Copy } from './src/copy.ts'

let copy: Copy
let packages: readonly string[]

beforeAll(() => {
  copy = new Copy([
    'packages',
    'scripts',
    'docs/writing-a-driver.md',
    'tests/support',
    'tests/iotests',
    'biome.json',
    '.gitignore',
    'package.json',
    'tsconfig.json',
    'vitest.config.ts',
  ])
  packages = readdirSync(copy.at('packages'))
})
afterAll(() => copy?.remove())

const newDriver = (...args: string[]) => copy.run('scripts/new-driver.mjs', '--no-install', ...args)

describe('a name is refused, with one line and nothing left behind,', () => {
  it.each([
    ['that is a package', 'raw', 'packages/raw exists already'],
    ['that is a driver', 'memory', "'memory' is the name of a driver in packages/block-core"],
    ['with other signs', 'my-disk', "'my-disk' is no name for a driver"],
    ['with capitals', 'VDI', "'VDI' is no name for a driver"],
    ['that leads elsewhere', '../x', "'../x' is no name for a driver"],
    ['that the language has taken', 'default', "'default' means something else"],
    ['that the code has taken', 'layout', "'layout' means something else"],
  ])('%s: %s', (_, name, message) => {
    const { status, output } = newDriver(name)
    expect(status).toBe(1)
    expect(output.trimEnd().split('\n')).toHaveLength(1)
    expect(output).toContain(`vmblock: ${message}`)
    expect(readdirSync(copy.at('packages'))).toEqual(packages)
  })

  it('none: it says how it is called', () => {
    expect(newDriver()).toMatchObject({
      status: 1,
      output: expect.stringContaining('usage: npm run new-driver'),
    })
  })
})

describe('the package of a new driver', { timeout: 120_000 }, () => {
  beforeAll(() => {
    expect(newDriver('fresh')).toMatchObject({ status: 0 })
  })

  it('passes its own tests', () => {
    const { status, output } = copy.run(
      'node_modules/vitest/vitest.mjs',
      ...['run', '--project', 'unit', 'packages/fresh'],
    )
    expect(status, output).toBe(0)
    expect(output).toMatch(/Test Files {2}2 passed/)
    expect(output).toMatch(/Tests {2}\d{3} passed/)
  })

  it('passes lint, the checks of comments and of layers', () => {
    const { status, output } = copy.run(
      'node_modules/@biomejs/biome/bin/biome',
      ...['check', '--error-on-warnings', 'packages/fresh'],
    )
    expect(status, output).toBe(0)
    for (const script of ['check-docs', 'check-layers'])
      expect(copy.run(`scripts/${script}.mjs`).output).not.toContain('packages/fresh')
  })

  it('passes the type checker', () => {
    copy.plant(
      'fresh.json',
      JSON.stringify({ extends: './tsconfig.json', include: ['packages/fresh/src/**/*.ts'] }),
    )
    const { status, output } = copy.run('node_modules/typescript/bin/tsc', '-p', 'fresh.json')
    expect(status, output).toBe(0)
  })

  it('is like its siblings', () => {
    const manifest = JSON.parse(readFileSync(copy.at('packages/fresh/package.json'), 'utf8'))
    const sibling = JSON.parse(readFileSync(copy.at('packages/qed/package.json'), 'utf8'))
    expect(manifest).toEqual({
      ...sibling,
      name: '@vmblock/fresh',
      description: expect.stringContaining('fresh'),
      keywords: expect.arrayContaining(['fresh']),
      homepage: sibling.homepage.replace('packages/qed', 'packages/fresh'),
      repository: { ...sibling.repository, directory: 'packages/fresh' },
    })
    expect(existsSync(copy.at('packages/fresh/README.md'))).toBe(true)
  })

  it('is known to the programs and the iotests by a line on the list', () => {
    const change = (path: string, from: string | RegExp, to: string): void => {
      const before = readFileSync(copy.at(path), 'utf8')
      const after = before.replace(from, to)
      expect(after).not.toBe(before)
      writeFileSync(copy.at(path), after)
    }
    change(
      'packages/formats/src/index.ts',
      'import { qcow2 }',
      "import { fresh } from '@vmblock/fresh'\nimport { qcow2 }",
    )
    change('packages/formats/src/index.ts', '  qcow2,\n', '  qcow2,\n  fresh,\n')
    change(
      'packages/formats/package.json',
      '"@vmblock/qcow2"',
      '"@vmblock/fresh": "workspace:^",\n    "@vmblock/qcow2"',
    )
    change('packages/fresh/src/testing/index.ts', 'suites: []', "suites: ['iotests']")
    expect(copy.run('scripts/iotests.mjs', '--help').output).toContain('-fresh')
    const all = copy.run('scripts/iotests.mjs', '-n', '001').output
    expect(all).toMatch(/> fresh$/m)
    const { status, output } = copy.run('scripts/iotests.mjs', '-fresh', '001')
    expect(status, output).toBe(0)
    expect(output).toMatch(/Tests {2}1 passed/)
  })
})
