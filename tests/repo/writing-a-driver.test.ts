/** The driver that docs/writing-a-driver.md shows compiles, and is a driver like all others. */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import * as blockCore from '@vmblock/block-core'
import {
  type AnyDriver,
  type BlockNode,
  DriverRegistry,
  denyHost,
  memory,
  openNode,
  parseOptions,
} from '@vmblock/block-core'
import { driverContract, type NodeWish, openTestNode } from '@vmblock/block-core/testing'
import { transformSync } from 'esbuild'
import ts from 'typescript'
import { expect, test } from 'vitest'

const path = (name: string): string => fileURLToPath(new URL(`../../${name}`, import.meta.url))
const GUIDE = readFileSync(path('docs/writing-a-driver.md'), 'utf8')
const SOURCE = /```ts\n([\s\S]*?)```/.exec(GUIDE)?.[1] ?? ''

/** Runs the example: its import becomes parameters, its one export the result. */
function loadExample(): AnyDriver {
  const { code } = transformSync(SOURCE, { loader: 'ts', format: 'cjs' })
  const module = { exports: {} as { readonly tiny?: AnyDriver } }
  const run = new Function('module', 'require', code) as (at: typeof module, require: () => unknown) => void
  run(module, () => blockCore)
  if (!module.exports.tiny) throw new Error('the guide exports no driver')
  return module.exports.tiny
}

const tiny = loadExample()
const files = new WeakMap<BlockNode, BlockNode>()

async function openOn(file: BlockNode, config: Omit<NodeWish, 'size'>): Promise<BlockNode> {
  const node = await openTestNode(tiny, { config, children: { file } })
  files.set(node, file)
  return node
}

async function makeNode({ size, ...config }: NodeWish): Promise<BlockNode> {
  const file = await openNode(
    { registry: new DriverRegistry([memory]), host: denyHost },
    { driver: 'memory' },
  )
  await tiny.create?.({ file, options: parseOptions(tiny.createOptions ?? {}, { size }) })
  return openOn(file, config)
}

driverContract('the driver of the guide', makeNode, {
  knowsZeroes: true,
  granularity: 4096,
  reopen: (node) => openOn(files.get(node)!, { readOnly: false, writeCache: true, detectZeroes: 'off' }),
})

test('the driver of the guide compiles under the rules of the repository', { timeout: 120_000 }, () => {
  const { config } = ts.readConfigFile(path('tsconfig.json'), ts.sys.readFile)
  const { options } = ts.parseJsonConfigFileContent(config, ts.sys, path('.'))
  const name = path('docs/writing-a-driver.ts')
  const host = ts.createCompilerHost(options)
  const { fileExists, readFile, getSourceFile } = host
  host.fileExists = (file) => file === name || fileExists.call(host, file)
  host.readFile = (file) => (file === name ? SOURCE : readFile.call(host, file))
  host.getSourceFile = (file, language, ...rest) =>
    file === name
      ? ts.createSourceFile(file, SOURCE, language)
      : getSourceFile.call(host, file, language, ...rest)
  const program = ts.createProgram([name], options, host)
  const messages = program
    .getSemanticDiagnostics(program.getSourceFile(name))
    .map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n'))
  expect(messages).toEqual([])
})

test('the driver of the guide is short', () => {
  const lines = SOURCE.split('\n').filter((line) => line.trim() !== '')
  expect(lines.length).toBeLessThan(80)
})
