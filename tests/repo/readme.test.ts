/** What README shows runs, and prints what it says. */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import * as blockCore from '@vmblock/block-core'
import * as qcow2 from '@vmblock/qcow2'
import { transformSync } from 'esbuild'
import { expect, test } from 'vitest'

const README = readFileSync(fileURLToPath(new URL('../../README.md', import.meta.url)), 'utf8')

test('the embedding example of README finds its data again after a crash', async () => {
  const example = /```ts\n([\s\S]*?)```/.exec(README)?.[1]
  if (example === undefined) throw new Error('README has no example')
  // Imports become parameters, everything else runs as it stands.
  const exported: Record<string, unknown> = { ...blockCore, ...qcow2 }
  const names = [...example.matchAll(/^import \{(.*)\}/gm)].flatMap(([, list]) =>
    list!.split(',').map((name) => name.trim()),
  )
  for (const name of names) expect(exported).toHaveProperty(name)
  const { code } = transformSync(`async function example() {${example.replace(/^import .*\n/gm, '')}\n}`, {
    loader: 'ts',
  })
  const printed: unknown[][] = []
  const output = { log: (...values: unknown[]) => printed.push(values) }
  const run = new Function('console', ...names, `${code}\nreturn example()`) as (
    ...values: unknown[]
  ) => Promise<void>
  await run(output, ...names.map((name) => exported[name]))
  expect(printed).toHaveLength(1)
  expect(printed[0]?.[0]).toBe('hello')
  expect(example.split('\n').length).toBeLessThan(30)
})
