/** The driver that docs/writing-a-driver.md shows compiles, and passes the tests of all drivers. */
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
  WriteLog,
  writeLog,
} from '@vmblock/block-core'
import * as testing from '@vmblock/block-core/testing'
import {
  type CrashWorkload,
  crashTests,
  createRandom,
  driverContract,
  type NodeWish,
  openTestNode,
  toBytes,
} from '@vmblock/block-core/testing'
import { transformSync } from 'esbuild'
import ts from 'typescript'
import { expect, test, vi } from 'vitest'

const path = (name: string): string => fileURLToPath(new URL(`../../${name}`, import.meta.url))
const GUIDE = readFileSync(path('docs/writing-a-driver.md'), 'utf8')
const [SOURCE = '', WORKLOADS = '', FILTER = ''] = [...GUIDE.matchAll(/```ts\n([\s\S]*?)```/g)].map(
  ([, code]) => code,
)

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
const tiny = example['tiny'] as AnyDriver
const { workloads } = load(WORKLOADS, { '@vmblock/block-core/testing': testing, './tiny.ts': example })
const { serial, copyLive } = load(FILTER, { '@vmblock/block-core': blockCore }) as {
  serial: AnyDriver
  copyLive: (disk: BlockNode, target: BlockNode) => Promise<void>
}
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

crashTests('the driver of the guide', workloads as CrashWorkload[], process.env)

test('the filter of the guide hands requests on one at a time', async () => {
  const log = new WriteLog()
  const file = await openTestNode(memory, { options: { size: 65536 } })
  const recorded = await openTestNode(writeLog, { children: { file }, options: { log } })
  const node = await openTestNode(serial, { children: { file: recorded } })
  await Promise.all(Array.from({ length: 8 }, (_, index) => node.write(index * 512, new Uint8Array(512))))
  const times = log.entries.map(({ submitted, completed }) => [submitted, completed])
  expect(times).toEqual(Array.from({ length: 8 }, (_, index) => [2 * index, 2 * index + 1]))
})

test('the observer of the guide copies a disk that is being written', async () => {
  const random = createRandom(1)
  const size = 2 ** 20 + 1000
  const disk = await openTestNode(memory, { options: { size } })
  const target = await openTestNode(memory, { options: { size } })
  // The guest stops when the last pieces are about to be copied: afterwards nothing would follow it.
  let pauses = 0
  const withoutWrites = disk.withoutWrites.bind(disk)
  vi.spyOn(disk, 'withoutWrites').mockImplementation((body) => {
    pauses++
    return withoutWrites(body)
  })
  let writes = 0
  const guest = async (): Promise<void> => {
    for (; pauses < 2; writes++) {
      const data = random.bytes(random.int(1, 100_000))
      await disk.write(random.int(0, size - data.length), data)
    }
  }
  await Promise.all([guest(), guest(), guest(), copyLive(disk, target)])
  expect(writes).toBeGreaterThan(10)
  expect(Buffer.compare(await toBytes(target), await toBytes(disk))).toBe(0)
})

test('the examples of the guide compile under the rules of the repository', { timeout: 120_000 }, () => {
  const { config } = ts.readConfigFile(path('tsconfig.json'), ts.sys.readFile)
  const { options } = ts.parseJsonConfigFileContent(config, ts.sys, path('.'))
  const sources = new Map([
    [path('docs/tiny.ts'), SOURCE],
    [path('docs/tiny-crashes.ts'), WORKLOADS],
    [path('docs/filter.ts'), FILTER],
  ])
  const host = ts.createCompilerHost(options)
  const { fileExists, readFile, getSourceFile } = host
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

test('the driver of the guide is short', () => {
  const lines = SOURCE.split('\n').filter((line) => line.trim() !== '')
  expect(lines.length).toBeLessThan(80)
})
