/** The driver that docs/writing-a-driver.md shows compiles, and passes the tests of all drivers. */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import * as blockCore from '@vmblock/block-core'
import { type AnyDriver, DriverRegistry, denyFiles, memory, openNode } from '@vmblock/block-core'
import * as testing from '@vmblock/block-core/testing'
import { type CrashWorkload, crashTests } from '@vmblock/block-core/testing'
import { transformSync } from 'esbuild'
import ts from 'typescript'
import { expect, test } from 'vitest'

const path = (name: string): string => fileURLToPath(new URL(`../../${name}`, import.meta.url))
const GUIDE = readFileSync(path('docs/writing-a-driver.md'), 'utf8')
const [SOURCE = '', CONTRACT = '', WORKLOADS = '', FORMAT = ''] = [
  ...GUIDE.matchAll(/```ts\n([\s\S]*?)```/g),
].map(([, code]) => code)

/** The one example that belongs to no file of the driver. */
const [, CHILDREN = ''] = /```typescript\n([\s\S]*?)```/.exec(GUIDE) ?? []

/** Runs an example: its imports are given by name, its exports are the result. */
function load(source: string, imports: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  const { code } = transformSync(source, { loader: 'ts', format: 'cjs' })
  const module = { exports: {} }
  const run = new Function('module', 'require', code) as (
    at: typeof module,
    require: (name: string) => unknown,
  ) => void
  run(module, (name) => imports[name])
  return module.exports
}

const example = load(SOURCE, { '@vmblock/block-core': blockCore })
const { workloads } = load(WORKLOADS, { '@vmblock/block-core/testing': testing, '../driver.ts': example })
const { mirrors } = load(CHILDREN, { '@vmblock/block-core': blockCore })

load(CONTRACT, { '@vmblock/block-core/testing': testing, './driver.ts': example })

crashTests('the driver of the guide', workloads as CrashWorkload[], process.env)

test('the guide describes its driver to the tests of all formats', () => {
  const { format } = load(FORMAT, { '../driver.ts': example })
  expect(format).toMatchObject({ driver: example['tiny'], varieties: [{ suites: [] }] })
})

test('the examples of the guide compile under the rules of the repository', { timeout: 120_000 }, () => {
  const { config } = ts.readConfigFile(path('tsconfig.json'), ts.sys.readFile)
  const { options } = ts.parseJsonConfigFileContent(config, ts.sys, path('.'))
  const sources = new Map([
    [path('docs/src/driver.ts'), SOURCE],
    [path('docs/src/mirrors.ts'), CHILDREN],
    [path('docs/src/contract.test.ts'), CONTRACT],
    [path('docs/src/testing/crash.ts'), WORKLOADS],
    [path('docs/src/testing/index.ts'), FORMAT],
  ])
  const host = ts.createCompilerHost(options)
  const { fileExists, readFile, getSourceFile } = host
  host.directoryExists = () => true
  host.fileExists = (file) => sources.has(file) || fileExists.call(host, file)
  host.readFile = (file) => sources.get(file) ?? readFile.call(host, file)
  host.getSourceFile = (file, language, ...rest) => {
    const source = sources.get(file)
    return source === undefined
      ? getSourceFile.call(host, file, language, ...rest)
      : ts.createSourceFile(file, source, language)
  }
  const program = ts.createProgram([...sources.keys()], options, host)
  const messages = [...sources.keys()]
    .flatMap((name) => program.getSemanticDiagnostics(program.getSourceFile(name)))
    .map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n'))
  expect(messages).toEqual([])
})

test('the list of children in the guide is opened, written and read', async () => {
  const environment = { registry: new DriverRegistry([memory, mirrors as AnyDriver]), resolver: denyFiles }
  const node = await openNode(environment, {
    driver: 'mirrors',
    'children.0.driver': 'memory',
    'children.0.size': '1k',
    'children.1.driver': 'memory',
    'children.1.size': '2k',
  })
  await node.write(512, new Uint8Array(512).fill(1))
  const copies = [...node.children.values()].map(async (child) => {
    const bytes = new Uint8Array(1024)
    await child.read(0, bytes)
    return [bytes[511], bytes[512], bytes[1023]]
  })
  expect([node.size, await Promise.all(copies)]).toEqual([
    1024,
    [
      [0, 1, 1],
      [0, 1, 1],
    ],
  ])
  await node.close()
})

test('the driver of the guide is short', () => {
  const lines = SOURCE.split('\n').filter((line) => line.trim() !== '')
  expect(lines.length).toBeLessThan(80)
})
