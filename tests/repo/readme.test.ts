/** The examples of README run, and print what it says. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import * as blockCore from '@vmblock/block-core'
import * as qcow2 from '@vmblock/qcow2'
import type { V86Disk } from '@vmblock/v86'
import { v86Disk } from '@vmblock/v86/node'
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

test('the three lines of README give v86 a disk that is there, new and durable', async () => {
  const lines = /^ {6}import \{ v86Disk \}.*\n((?: {6}.*\n)+)/m.exec(README)?.[1]
  if (lines === undefined) throw new Error('README has no disk for v86')
  const directory = mkdtempSync(join(tmpdir(), 'vmblock-readme-'))
  try {
    class V86 {
      readonly settings: { readonly hda: V86Disk }
      constructor(settings: { readonly hda: V86Disk }) {
        this.settings = settings
      }
    }
    const code = lines.replace("'disk.qcow2'", JSON.stringify(join(directory, 'disk.qcow2')))
    const run = new Function(
      'v86Disk',
      'V86',
      'others',
      `return (async () => { ${code}\n return emulator })()`,
    ) as (...values: unknown[]) => Promise<V86>
    for (const expected of [0, 7]) {
      const { hda } = (await run(v86Disk, V86, {})).settings
      expect(hda.byteLength).toBe(2 ** 31)
      const sector = new Uint8Array(512)
      await hda.read(5, sector)
      expect(sector[0]).toBe(expected)
      await hda.write(5, sector.fill(7))
      await hda.close()
    }
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
})
