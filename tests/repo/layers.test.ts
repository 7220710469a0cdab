/** The check of layers sees what it exists to see: violations are planted in a small tree, each of which must fail it. */

import { rmSync } from 'node:fs'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { Copy } from './src/copy.ts'

let copy: Copy

beforeAll(() => {
  copy = new Copy(['scripts'])
})
afterAll(() => copy?.remove())

/** A sound tree: two packages, of which one is a driver's with folders. */
beforeEach(() => {
  rmSync(copy.at('packages'), { recursive: true, force: true })
  copy.plant('packages/core/package.json', '{ "name": "@vmblock/core" }')
  copy.plant('packages/core/src/index.ts', "export { node } from './graph/node.ts'\n")
  copy.plant(
    'packages/core/src/graph/node.ts',
    "import { bits } from '../base/bits.ts'\nexport const node = bits\n",
  )
  copy.plant(
    'packages/core/src/base/bits.ts',
    "export type { Byte } from './byte.ts'\nexport const bits = 8\n",
  )
  copy.plant(
    'packages/core/src/base/byte.ts',
    "import type { bits } from './bits.ts'\nexport type Byte = typeof bits\n",
  )
  copy.plant('packages/core/src/base/bits.test.ts', "import '../index.ts'\n")
  copy.plant('packages/core/src/testing/model.ts', "export { node } from '../index.ts'\n")
  copy.plant('packages/driver/package.json', '{ "dependencies": { "@vmblock/core": "workspace:*" } }')
  copy.plant('packages/driver/src/index.ts', "export { node } from '@vmblock/core'\n")
})

const check = () => copy.run('scripts/check-layers.mjs')

it('a sound tree passes, with a pair in one folder, tests, and a testing folder above all', () => {
  expect(check()).toEqual({ status: 0, output: '' })
})

describe('fails for', () => {
  const cases: Readonly<Record<string, readonly [files: Readonly<Record<string, string>>, message: RegExp]>> =
    {
      'a folder that imports a type of one above it': [
        {
          'packages/core/src/base/up.ts':
            "import type { node } from '../graph/node.ts'\nexport type Up = typeof node\n",
        },
        /packages\/core: folders (graph, base|base, graph) import each other:[\s\S]*base\/up\.ts:1 imports graph\/node\.ts/,
      ],
      'a folder that loads one above it later': [
        { 'packages/core/src/base/up.ts': "\nexport const later = () => import('../graph/node.ts')\n" },
        /folders (graph, base|base, graph) import each other:[\s\S]*base\/up\.ts:2 imports graph\/node\.ts/,
      ],
      'a folder that exports from one above it': [
        { 'packages/core/src/base/up.ts': "export * from '../graph/node.ts'\n" },
        /folders (graph, base|base, graph) import each other/,
      ],
      'a folder that imports the face of its package': [
        { 'packages/core/src/base/up.ts': "export type { node } from '../index.ts'\n" },
        /packages\/core: folder base imports files that stand above it:\n {4}packages\/core\/src\/base\/up\.ts:1 imports index\.ts/,
      ],
      'a folder that imports from testing': [
        { 'packages/core/src/graph/model.ts': "export { node } from '../testing/model.ts'\n" },
        /folders [\w., ]*testing[\w., ]* import each other/,
      ],
      'packages that depend on each other': [
        { 'packages/core/package.json': '{ "dependencies": { "@vmblock/driver": "workspace:*" } }' },
        /packages (core, driver|driver, core) depend on each other/,
      ],
      'packages that depend on each other as peers': [
        { 'packages/core/package.json': '{ "peerDependencies": { "@vmblock/driver": ">=0" } }' },
        /packages (core, driver|driver, core) depend on each other/,
      ],
      'three files that import each other in a circle, in one folder': [
        {
          'packages/core/src/base/one.ts': "export type { Two } from './two.ts'\nexport type One = 1\n",
          'packages/core/src/base/two.ts': "export type { Three } from './three.ts'\nexport type Two = 2\n",
          'packages/core/src/base/three.ts': "export type { One } from './one.ts'\nexport type Three = 3\n",
        },
        /packages\/core: 3 files import each other in a circle:\n( {4}packages.* imports base\/\w+\.ts\n){3}/,
      ],
      'a package on no list': [
        {
          'packages/newcomer/package.json': '{}',
          'packages/newcomer/src/high/high.ts':
            "export { low } from '../low/low.ts'\nexport const high = 1\n",
          'packages/newcomer/src/low/low.ts':
            "export type { high } from '../high/high.ts'\nexport const low = 0\n",
        },
        /packages\/newcomer: folders (high, low|low, high) import each other/,
      ],
    }
  it.each(Object.entries(cases))('%s', (_, [files, message]) => {
    for (const [path, code] of Object.entries(files)) copy.plant(path, code)
    const { status, output } = check()
    expect(output).toMatch(message)
    expect(status).toBe(1)
  })
})
