/** README is short, and gives v86 a disk that lasts; its examples run in docs.test.ts and docs.browser.test.ts. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { V86Disk } from '@vmblock/v86'
import { v86Disk } from '@vmblock/v86/node'
import { expect, test } from 'vitest'
import { examplesOf, textOf } from '../support/doc-blocks.ts'
import { V86 } from './src/pages/embedding.ts'

const examples = examplesOf('README.md')

test('README is three screens', () => {
  expect(textOf('README.md').split('\n').length).toBeLessThanOrEqual(120)
})

test('the first example of README is about ten lines, and is run in Node.js and in a page', () => {
  const [first, ...others] = examples
  expect(first?.where).toBe('node')
  expect(first?.blocks[0]?.code.split('\n').length).toBeLessThan(14)
  const [twin] = others.filter(({ where }) => where === 'page')
  expect(twin?.blocks[0]?.line).toBe(first?.blocks[0]?.line)
  expect(twin?.blocks[0]?.code).toContain("{ opfs: 'disk.qcow2' }")
})

test('the three lines of README give v86 a disk that is there, new and durable', async () => {
  const code = examples.map(({ blocks }) => blocks[0]!.code).find((text) => text.includes('v86Disk'))
  const [, lines] = /^import \{ v86Disk \}.*\n((?:.*\n)+)/.exec(code ?? '') ?? []
  if (lines === undefined) throw new Error('README has no disk for v86')
  expect(lines.trim().split('\n')).toHaveLength(2)
  const directory = mkdtempSync(join(tmpdir(), 'vmblock-readme-'))
  try {
    const body = lines.replace("'disk.qcow2'", JSON.stringify(join(directory, 'disk.qcow2')))
    const run = new Function(
      'v86Disk',
      'V86',
      'others',
      `return (async () => { ${body}\n return emulator })()`,
    ) as (...values: unknown[]) => Promise<{ readonly settings: { readonly hda: V86Disk } }>
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
