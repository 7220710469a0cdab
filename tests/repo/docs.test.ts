/** Every example of the documentation compiles, and runs; what it prints is what its page says. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { examples } from 'virtual:doc-examples/node'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { blocksOf, examplesOf, isScript, pages, ROOT } from '../support/doc-blocks.ts'
import { allExamples, OWN_TESTS } from '../support/doc-examples.ts'
import { exampleProblems } from './src/example-problems.ts'
import { differences, takePrinted } from './src/printed.ts'

test('pages of whose examples other tests take care are named in those tests', () => {
  for (const [page, own] of Object.entries(OWN_TESTS))
    expect(readFileSync(ROOT + own, 'utf8')).toContain(page)
})

test('no block is left unchecked', () => {
  for (const page of pages().filter((page) => !(page in OWN_TESTS))) {
    const blocks = blocksOf(page)
    const covered = examplesOf(page, blocks).flatMap((example) => example.blocks)
    expect(covered).toEqual(expect.arrayContaining(blocks.filter(isScript)))
    for (const { line, language, code } of blocks)
      if (language === undefined || language === '')
        expect([page, line, /^(import|const|await) /m.test(code)]).toEqual([page, line, false])
  }
})

test('the examples compile under the rules of the repository', { timeout: 120_000 }, () => {
  expect(exampleProblems(allExamples('node', 'page', 'compiled'))).toEqual([])
})

describe.each([...new Set(examples.map(({ page }) => page))])('%s', (page) => {
  const before = process.cwd()
  const directory = mkdtempSync(join(tmpdir(), 'vmblock-docs-'))
  beforeAll(async () => {
    process.chdir(directory)
    await (await examples.find((example) => example.page === page)!.fixture()).prepare?.()
  })
  afterAll(() => {
    process.chdir(before)
    rmSync(directory, { recursive: true, force: true })
  })

  test.each(examples.filter((example) => example.page === page))('line $line', async (example) => {
    takePrinted()
    await example.run()
    expect(differences(takePrinted(), example.codes, example.output)).toEqual([])
  })
})

test('links lead to files that exist, and to headings that they have', () => {
  const headings = (text: string): readonly string[] =>
    [...text.matchAll(/^#+ (.*)$/gm)].map(([, title]) =>
      title!
        .toLowerCase()
        .replace(/[^\p{L}\p{N}\s_-]/gu, '')
        .replace(/\s/g, '-'),
    )
  const dead = pages().flatMap((page) => {
    const text = readFileSync(ROOT + page, 'utf8').replace(/^```[\s\S]*?^```/gm, '')
    return [...text.matchAll(/\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]+))?\)/g)]
      .filter(([, target = '', heading]) => {
        const path = target === '' ? ROOT + page : join(ROOT, page, '..', target)
        if (!existsSync(path)) return true
        return (
          heading !== undefined &&
          path.endsWith('.md') &&
          !headings(readFileSync(path, 'utf8')).includes(heading)
        )
      })
      .map(([link]) => `${page}: ${link}`)
  })
  expect(dead).toEqual([])
})
