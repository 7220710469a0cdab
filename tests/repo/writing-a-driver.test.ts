/** The driver that docs/writing-a-driver.md shows compiles, and passes the tests of all drivers. */
import * as blockCore from '@vmblock/block-core'
import { type AnyDriver, DriverRegistry, denyHost, memory, openNode } from '@vmblock/block-core'
import * as driver from '@vmblock/block-core/driver'
import * as testing from '@vmblock/block-core/testing'
import { type CrashWorkload, crashTests } from '@vmblock/block-core/testing'
import { expect, test } from 'vitest'
import { examplesOf, problemsOf, runExample } from './src/guide.ts'

const GUIDE = 'docs/writing-a-driver.md'
const [SOURCE = '', CONTRACT = '', WORKLOADS = '', FORMAT = ''] = examplesOf(GUIDE)
/** The one example that belongs to no file of the driver. */
const [CHILDREN = ''] = examplesOf(GUIDE, 'typescript')

const PACKAGES = { '@vmblock/block-core': blockCore, '@vmblock/block-core/driver': driver }

const example = runExample(SOURCE, PACKAGES)
const { workloads } = runExample(WORKLOADS, {
  '@vmblock/block-core/testing': testing,
  '../driver.ts': example,
})
const { mirrors } = runExample(CHILDREN, PACKAGES)

runExample(CONTRACT, { '@vmblock/block-core/testing': testing, './driver.ts': example })

crashTests('the driver of the guide', workloads as CrashWorkload[], process.env)

test('the guide describes its driver to the tests of all formats', () => {
  const { format } = runExample(FORMAT, { '../driver.ts': example })
  expect(format).toMatchObject({ driver: example['tiny'], varieties: [{ suites: [] }] })
})

test('the examples of the guide compile under the rules of the repository', { timeout: 120_000 }, () => {
  const problems = problemsOf({
    'docs/src/driver.ts': SOURCE,
    'docs/src/mirrors.ts': CHILDREN,
    'docs/src/contract.test.ts': CONTRACT,
    'docs/src/testing/crash.ts': WORKLOADS,
    'docs/src/testing/index.ts': FORMAT,
  })
  expect(problems).toEqual([])
})

test('the list of children in the guide is opened, written and read', async () => {
  const environment = { registry: new DriverRegistry([memory, mirrors as AnyDriver]), host: denyHost }
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
    await child.node.read(0, bytes)
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
